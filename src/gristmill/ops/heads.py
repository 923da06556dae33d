"""Small models on top of embeddings (scikit-learn, extra `learn`): a classifier, a regression of scores, a random forest.

Promised: a head is fitted once; its weights (of a forest: what it says of each row) are journaled as plain numbers and
kept as an artefact, so a replay fits nothing and predicts the same. No pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from gristmill import Run, packages
from gristmill.engine.artefacts import Artefact
from gristmill.ops.vectors import Vectors, digest_of


class Head(msgspec.Struct, frozen=True):
    """A linear layer over embeddings."""

    classes: list[str]
    """Labels, one a row of `weights`; empty for a regression, which has one row."""
    weights: list[list[float]]
    bias: list[float]


def require() -> None:
    """Raises BadInput where scikit-learn is not installed."""
    packages.require("training a classifier", "learn", "sklearn")


async def classifier(
    run: Run, vectors: Vectors, labels: Sequence[str], *, strength: float = 1.0
) -> tuple[Head, Artefact]:
    """Logistic regression. With a single label it always says that.

    Args:
        vectors: of what was labelled, a row each.
        strength: inverse of the L2 penalty, as scikit-learn's C.

    Raises:
        ValueError: nothing was labelled.
    """
    if not len(labels):
        raise ValueError("a classifier needs labelled rows, and there are none")

    def fit(*_: Any) -> dict[str, Any]:
        from sklearn.linear_model import LogisticRegression

        classes = sorted(set(labels))
        if len(classes) == 1:
            return {"classes": classes, "weights": [[0.0] * vectors.shape[1]], "bias": [0.0]}
        found = LogisticRegression(C=strength, max_iter=1000).fit(vectors, list(labels))
        weights, bias = found.coef_.tolist(), found.intercept_.tolist()
        if len(classes) == 2:  # of two classes the library keeps the second's weights only
            weights, bias = [[0.0] * len(weights[0]), weights[0]], [0.0, bias[0]]
        return {"classes": classes, "weights": weights, "bias": bias}

    return await _kept(run, "classifier", fit, digest_of(vectors), list(labels), strength)


async def regression(
    run: Run, vectors: Vectors, scores: Sequence[float], *, penalty: float = 1.0
) -> tuple[Head, Artefact]:
    """Ridge regression of a score.

    Args:
        penalty: of the squared weights, as scikit-learn's alpha.

    Raises:
        ValueError: nothing was scored.
    """
    if not len(scores):
        raise ValueError("a regression needs scored rows, and there are none")

    def fit(*_: Any) -> dict[str, Any]:
        from sklearn.linear_model import Ridge

        found = Ridge(alpha=penalty).fit(vectors, np.array(scores, np.float64))
        return {"classes": [], "weights": [found.coef_.tolist()], "bias": [float(found.intercept_)]}

    return await _kept(run, "regression", fit, digest_of(vectors), list(map(float, scores)), penalty)


async def forest(
    run: Run,
    vectors: Vectors,
    taught: Sequence[int],
    labels: Sequence[str],
    label: str,
    *,
    trees: int = 100,
    seed: int = 0,
) -> tuple[list[float], Artefact]:
    """How sure a random forest is that each row has a label, 0 to 1; and what it said, as an artefact.

    Args:
        vectors: of all rows.
        taught: numbers of the rows that it learns from.
        labels: of these. Where all are the same it is sure of all rows, one way or the other.
        label: which one is asked about.

    Raises:
        ValueError: nothing was labelled.
    """
    if not len(labels):
        raise ValueError("a forest needs labelled rows, and there are none")

    def grow(*_: Any) -> list[float]:
        from sklearn.ensemble import RandomForestClassifier

        if len(set(labels)) == 1:
            return [float(labels[0] == label)] * len(vectors)
        found = RandomForestClassifier(trees, random_state=seed).fit(vectors[list(taught)], list(labels))
        if label not in found.classes_:
            return [0.0] * len(vectors)
        shares: list[float] = found.predict_proba(vectors)[:, list(found.classes_).index(label)].tolist()
        return shares

    said = await run.once("forest", grow, digest_of(vectors), list(taught), list(labels), label, trees, seed)
    return said, await run.artefact("forest", {"taught": list(taught), "labels": list(labels), "said": said})


def labels_of(head: Head, vectors: Vectors) -> list[str]:
    """The most likely label of each row."""
    if not len(vectors):
        return []
    return [head.classes[best] for best in _outputs(head, vectors).argmax(axis=1)]


def scores_of(head: Head, vectors: Vectors) -> list[float]:
    """What a regression says of each row."""
    return [] if not len(vectors) else _outputs(head, vectors)[:, 0].tolist()


def _outputs(head: Head, vectors: Vectors) -> Vectors:
    found: Vectors = vectors @ np.array(head.weights).T + np.array(head.bias)
    return found


async def _kept(run: Run, name: str, fit: Any, *inputs: Any) -> tuple[Head, Artefact]:
    plain = await run.once(name, fit, *inputs)
    return msgspec.convert(plain, Head), await run.artefact(name, plain)
