"""Training step by step, in this process: the model that is trained is the one that is asked.

Losses over sums of log-probabilities of the answer given the prompt, against a reference that stays as it is:
DPO (Rafailov et al. 2023, eq. 7), IPO (Azar et al. 2023, over means a token), SLiC's hinge (Zhao et al. 2023); and plain
cross-entropy. AdamW; the learning rate rises over `warmup_steps` and then stays, for nobody knows how many steps come.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.errors import BadInput
from gristmill.models.protocol import Backend, Message, Question
from gristmill.models.training import Lesson, Method, Training

if TYPE_CHECKING:
    from gristmill.models.transformers import Transformers

AT_ONCE = 8
"""Lessons in one pass; gradients of all passes make one step."""
NORM = 1.0
"""Gradients are scaled down to this length."""


class Online:
    """A session of `Transformers`."""

    def __init__(self, base: Transformers, method: Method, training: Training, reference: str) -> None:
        if method not in ("sft", "dpo"):
            raise BadInput(f"online training takes sft or dpo, not {method}")
        self._method, self._training = method, training
        self._live = base.at(base.weights, "live")
        self._reference = base.at(Path(reference), "reference") if reference else base.at(base.weights, "reference")
        self._live._alive, self._reference._alive = [], []  # neither may be unloaded to make room for others
        self._base = base
        self._optimizer: Any = None
        self._steps = 0

    @property
    def backend(self) -> Backend:
        return self._live

    async def step(self, lessons: list[Lesson]) -> dict[str, float]:
        await self._open()
        return await self._live._lane.do(self._learn, lessons)

    async def save(self, folder: Path) -> None:
        await self._open()
        await self._live._lane.do(self._write, folder)

    async def restore(self, folder: Path) -> None:
        self._live.weights = folder
        await self._open()
        await self._live._lane.do(self._read, folder)

    async def close(self) -> None:
        await self._live.close()
        await self._reference.close()

    async def _open(self) -> None:
        if self._optimizer is not None:
            return
        await self._base.start()  # a known name is only then a file
        for one in (self._live, self._reference):
            if one.weights == Path(self._base.model):
                one.weights = self._base.weights
            await one.start()
        await self._live._lane.do(self._prepare)

    def _prepare(self) -> None:
        import torch

        net = self._live._net.requires_grad_(True)
        rate = self._training.learning_rate
        self._optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=self._training.weight_decay)

    def _learn(self, lessons: list[Lesson]) -> dict[str, float]:
        import torch

        net, training = self._live._net, self._training
        warm = min(1.0, (self._steps + 1) / (training.warmup_steps + 1))
        for group in self._optimizer.param_groups:
            group["lr"] = training.learning_rate * warm
        net.train()
        total = 0.0
        for start in range(0, len(lessons), AT_ONCE):
            part = lessons[start : start + AT_ONCE]
            loss = self._loss(part) * (len(part) / len(lessons))
            loss.backward()
            total += float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(net.parameters(), NORM))
        self._optimizer.step()
        self._optimizer.zero_grad()
        net.eval()
        self._steps += 1
        return {"loss": total, "gradient_norm": norm}

    def _loss(self, lessons: list[Lesson]) -> Any:
        import torch
        from torch.nn import functional

        chosen, length = self._chances(self._live._net, lessons, "completion")
        if self._method == "sft":
            return -(chosen / length).mean()
        rejected, shorter = self._chances(self._live._net, lessons, "rejected")
        with torch.no_grad():
            held, _ = self._chances(self._reference._net, lessons, "completion")
            other, _ = self._chances(self._reference._net, lessons, "rejected")
        beta, margin = self._training.beta, (chosen - held) - (rejected - other)
        if self._training.loss == "ipo":
            margin = (chosen - held) / length - (rejected - other) / shorter
            return ((margin - 1 / (2 * beta)) ** 2).mean()
        if self._training.loss == "hinge":
            return torch.relu(1 - beta * margin).mean()
        return -functional.logsigmoid(beta * margin).mean()

    def _chances(self, net: Any, lessons: list[Lesson], which: str) -> tuple[Any, Any]:
        """The log-probability of each answer with its end, and its tokens."""
        import torch

        rows, starts = [], []
        for lesson in lessons:
            question = (
                Question("chat", messages=[Message("user", lesson.prompt)])
                if lesson.chat
                else Question("complete", prompt=lesson.prompt)
            )
            prompt = self._live._prompt(question)
            tokenizer = self._live._tokenizer
            answer = tokenizer(getattr(lesson, which), add_special_tokens=False, verbose=False)["input_ids"]
            rows.append((prompt + answer + [tokenizer.eos_token_id])[: self._training.max_tokens])
            starts.append(min(len(prompt), len(rows[-1]) - 1))
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=net.device)
        logits = net(input_ids=ids, use_cache=False).logits[:, :-1].float()
        taken = logits.gather(2, ids[:, 1:, None])[..., 0] - logits.logsumexp(2)
        places = torch.arange(1, width, device=net.device)
        ends = torch.tensor([len(row) for row in rows], device=net.device)
        counts = (places >= torch.tensor(starts, device=net.device)[:, None]) & (places < ends[:, None])
        return (taken * counts).sum(1), counts.sum(1)

    def _write(self, folder: Path) -> None:
        import torch

        self._live._net.save_pretrained(folder)
        self._live._tokenizer.save_pretrained(folder)
        torch.save({"optimizer": self._optimizer.state_dict(), "steps": self._steps}, folder / "optimizer.pt")

    def _read(self, folder: Path) -> None:
        import torch

        state = torch.load(folder / "optimizer.pt", weights_only=True)
        self._optimizer.load_state_dict(state["optimizer"])
        self._steps = state["steps"]
