"""GLAN's first step (Li et al. 2024, section 2.1): a taxonomy of human knowledge and skill, for people to vote on."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Chat, Rows, Run, recipe
from gristmill.recipes.distillation.glan import TAXONOMY, TaxonomyNode, grow

__all__ = ["TAXONOMY", "glan_taxonomy"]  # the prompts too, so that others can be put in their place


@recipe("glan-taxonomy", seeds="glan_taxonomy.jsonl")
async def glan_taxonomy(
    taxonomy: Rows[TaxonomyNode],
    generator: Chat,
    run: Run,
    *,
    temperature: float = 1.0,
    top_p: float = 0.95,
    max_tokens_level: Annotated[int, Meta(ge=1)] = 4096,
) -> AsyncIterator[TaxonomyNode]:
    """Let a model name the fields of knowledge and skill, their sub-fields, and the disciplines of these.

    Every node is a row. Count people's votes in `keep` and `remove`, and give the rows to `glan` as its seeds: a node
    with more votes to remove goes with all below it. Nodes that are given are kept, and divided where no row is below
    them. (Li et al. 2024, arXiv:2402.13064; paper's model: GPT-4. Its people left 126 disciplines.)

    Args:
        temperature: of each call. Not confirmed.
        top_p: likewise.
        max_tokens_level: tokens a reply. Not confirmed.

    Rejects: `unparsed` names (details: of, below), `voted_out` (one for all; details: nodes).
    """
    sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens_level}
    for node in await grow(taxonomy, generator, run, sampling):
        run.link(node.row, *node.sources)
        yield node.row
