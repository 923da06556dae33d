"""LongForm's documents (Köksal et al. 2023): various in content, by clusters, and in length."""

import unicodedata
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from gristmill import Embed, Rows, Run, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.benchmarks import normal
from gristmill.ops.clusters import clustered, require
from gristmill.ops.text import words
from gristmill.ops.vectors import digest_of, embedded
from gristmill.recipes.distillation.longform import LongDocument, check_document

PAPER = {"C4": 10_000, "Wikipedia": 5_000}


class SelectedDocument(LongDocument):
    """A document that was chosen, unchanged."""

    cluster: int = 0
    """Of its source; 0 where all documents of the source are taken."""


@recipe("longform-select", seeds="documents.jsonl")
async def longform_select(
    rows: Rows[LongDocument],
    embedder: Embed,
    run: Run,
    *,
    sizes: dict[str, Annotated[int, Meta(ge=0)]] = PAPER,
    clusters: Annotated[int, Meta(ge=1)] | None = None,
    min_words: Annotated[int, Meta(ge=1)] = 20,
    min_letters: Annotated[float, Meta(ge=0, le=1)] = 0.6,
) -> AsyncIterator[SelectedDocument]:
    """Choose documents for `longform`: clusters of alike ones take turns, and each gives texts of various lengths.

    Documents that are too short, noisy or there already go first. Those of a source are then embedded and clustered
    (k-means), and the clusters take turns until there are enough; a cluster that gives several documents gives them
    from all parts of its range of lengths. (Köksal et al. 2023, "LongForm", arXiv:2304.08460. How the paper selects,
    clusters and filters is not confirmed.)

    Args:
        embedder: places the documents (paper: a model like BERT).
        sizes: documents of each source; all of a source that is not named.
        clusters: of a source; as many as documents are wanted unless given. Not confirmed.
        min_words: of a document. Not confirmed.
        min_letters: share of a document's characters other than white space that are letters; those with less are
            noisy: tables, code, lists of numbers. Not confirmed.

    Rejects: `empty_document`, `too_short` (details: words), `noisy` (details: letters), `duplicate` (but for capitals and
        white space), `not_selected` (details: cluster).
    """
    fit: dict[str, list[LongDocument]] = defaultdict(list)
    known = set()
    for row in rows:
        try:
            check_document(row.text, min_words, None, 0)
            if (share := letters(row.text)) < min_letters:
                raise Bad("noisy", letters=round(share, 3))
            if (key := normal(row.text)) in known:
                raise Bad("duplicate")
        except Bad as bad:
            run.reject(row, bad.reason, **bad.details)
            continue
        known.add(key)
        fit[row.source].append(row)
    for source, documents in fit.items():
        wanted = sizes.get(source, len(documents))
        labels, kept = [0] * len(documents), set(range(len(documents))) if wanted else set()
        if 0 < wanted < len(documents):
            vectors = await embedded(run, embedder, [document.text for document in documents], name="place")
            how = {"wanted": wanted, "clusters": clusters or wanted, "seed": run.rng("select").randrange(2**32)}
            lengths = [len(words(document.text)) for document in documents]

            def choose(_: str, lengths: list[int], how: dict[str, Any], vectors: Any = vectors) -> Any:
                labels = clustered(vectors, "kmeans", clusters=how["clusters"], min_cluster_size=2, seed=how["seed"])
                return {"labels": labels, "kept": chosen(labels, lengths, how["wanted"], how["seed"])}

            found = await run.once("select", choose, digest_of(vectors), lengths, how)
            labels, kept = found["labels"], set(found["kept"])
        for number, (document, label) in enumerate(zip(documents, labels, strict=True)):
            if number in kept:
                row = SelectedDocument(text=document.text, source=document.source, cluster=label)
                run.link(row, document)
                yield row
            else:
                run.reject(document, "not_selected", cluster=label)


@longform_select.check
def clustering_is_installed() -> None:
    require()


def letters(text: str) -> float:
    """Share of letters, of any script, marks on them included, among what is no white space."""
    signs = [sign for sign in text if not sign.isspace()]
    return sum(unicodedata.category(sign)[0] in "LM" for sign in signs) / max(1, len(signs))


def chosen(labels: Sequence[int], lengths: Sequence[int], wanted: int, seed: int) -> list[int]:
    """Numbers of `wanted` documents: one of each cluster, then another one of each, and so on; of a cluster from equal
    parts of its range of lengths."""
    members: dict[int, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        members[label].append(number)
    chance = np.random.default_rng(seed)
    order = chance.permutation(sorted(members)).tolist()
    quota = dict.fromkeys(order, 0)
    while sum(quota.values()) < wanted:
        for label in order:
            if quota[label] < len(members[label]) and sum(quota.values()) < wanted:
                quota[label] += 1
    kept = []
    for label, count in quota.items():
        by_length = sorted(members[label], key=lambda number: (lengths[number], number))
        for part in range(count):
            start, end = part * len(by_length) // count, (part + 1) * len(by_length) // count
            kept.append(by_length[int(chance.integers(start, end))])
    return kept
