"""`litellm:PROVIDER/MODEL`: the providers whose API is their own (Bedrock, Vertex, Cohere, ...), through litellm.

Costs 4 to 8 ms of CPU a call where `openai:` costs 0.2: prefer that where a provider has a compatible endpoint. Keys
are read by litellm itself, from the provider's own variables, unless ,key=NAME names one.
"""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from gristmill.errors import BadInput, Transient
from gristmill.models.http import check_key
from gristmill.models.openai import Good, OpenAI, Problem
from gristmill.models.protocol import Price

if TYPE_CHECKING:
    from gristmill.models.spec import Spec


class LiteLLM(OpenAI):
    """litellm speaks OpenAI's forms on our side, so only the wire is replaced."""

    backend = "litellm"

    def __init__(self, model: str, *, url: str = "", key: str = "", timeout: float = 600.0, **limits: Any) -> None:
        super().__init__(model, url=url or f"litellm:{model.partition('/')[0]}", key=key, timeout=timeout, **limits)
        self.can = frozenset({"Chat", "Embed"})
        self._litellm: Any = None
        self._prefill = {}  # litellm would pass them on to providers that refuse them
        self._fixed: dict[str, Any] = {"timeout": timeout, "max_retries": 0, "num_retries": 0, "drop_params": True}
        if url:
            self._fixed["api_base"] = url

    async def start(self) -> None:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else importing it asks GitHub for prices
        try:
            self._litellm = await asyncio.to_thread(import_module, "litellm")
        except ImportError:
            raise BadInput("litellm: is not installed. pip install 'gristmill[litellm]'") from None
        self._litellm.suppress_debug_info = True
        self._litellm.telemetry = False
        if self._key_name:
            if not (key := check_key(os.environ.get(self._key_name, ""), self._key_name)):
                raise BadInput(f"litellm:{self.model}: the environment variable {self._key_name} is not set")
            self._fixed["api_key"] = self._http.key = key

    async def close(self) -> None:
        if self._litellm is not None:
            await self._litellm.close_litellm_async_clients()

    async def _post(self, path: str, body: dict[str, Any]) -> Good:
        plain = msgspec.json.decode(msgspec.json.encode(body))
        ask = self._litellm.aembedding if path == "/embeddings" else self._litellm.acompletion
        try:
            answer = await ask(**plain, **self._fixed)
            good = msgspec.convert(answer.model_dump(), Good, strict=False)
            good.limits = None
            return good
        except msgspec.ValidationError as error:
            raise Transient(f"{self._here()}: an answer in another form than agreed: {error}") from None
        except Exception as error:  # its errors share no base but OpenAI's SDK, which we do not import
            status = getattr(error, "status_code", None)
            if not isinstance(status, int):
                raise
            long = type(error).__name__ == "ContextWindowExceededError"
            code = "context_length_exceeded" if long else str(getattr(error, "code", None) or "")
            headers = getattr(error, "litellm_response_headers", None) or {}
            raise self._problem(status, headers, Problem(str(error), code=code)) from None


def from_spec(spec: Spec, price: Price | None) -> LiteLLM:
    return LiteLLM(
        spec.model,
        url=spec.url,
        key=spec.key,
        context=spec.context,
        price=price,
        timeout=spec.timeout or 600.0,
        concurrency=spec.concurrency,
    )
