"""phi-1.5's training sets (Li et al. 2023, sections 2.2 and 2.3): synthetic text with phi-1's data, or with web text, by shares."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import BadInput, Document, Rows, Run, recipe
from gristmill.ops.mixture import mixed

Variant = Literal["phi-1.5", "phi-1.5-web", "phi-1.5-web-only"]

SHARES: dict[Variant, dict[str, float]] = {
    "phi-1.5": {"synthetic": 0.8, "phi1": 0.2},
    "phi-1.5-web": {"web": 0.4, "code": 0.2, "synthetic": 0.4},
    "phi-1.5-web-only": {"web": 0.8, "code": 0.2},
}
"""Of the text that a model is trained on. Those of the second and third are not confirmed."""


class MixedText(Document, kw_only=True):
    part: str
    """synthetic, phi1, web or code."""


@recipe("phi-1-5-mix", fixed=True)
async def phi_1_5_mix(
    rows: Rows[Document],
    run: Run,
    *,
    phi1: Rows[Document] | None = None,
    web: Rows[Document] | None = None,
    code: Rows[Document] | None = None,
    variant: Variant = "phi-1.5",
    shares: dict[str, Annotated[float, Meta(ge=0)]] | None = None,
    total_rows: Annotated[int, Meta(ge=1)] | None = None,
) -> AsyncIterator[MixedText]:
    """Mix new synthetic text with phi-1's data, or with web text and code, in the shares of phi-1.5 and its variants.

    Asks no model. Each part is drawn without repeats, within one row of its share, and all are shuffled together.
    There is no instruction tuning. (Li et al. 2023, arXiv:2309.05463, sections 2.2 and 2.3. The paper's shares are of
    tokens seen in training; here they are of rows, so texts of about the same length are best.)

    Args:
        rows: of `phi-1-5`: the part "synthetic".
        phi1: what phi-1 was trained on (`phi-1` and `phi-1-textbooks`).
        web: filtered web text.
        code: filtered code, as of `phi-1`.
        variant: "phi-1.5" has 80 % synthetic text and 20 % of phi-1; "phi-1.5-web" 40 % web, 20 % code, 40 %
            synthetic; "phi-1.5-web-only" no synthetic text. Shares of the latter two are not confirmed.
        shares: of parts that are given, as relative weights, in the place of the variant's.
        total_rows: as many as the parts allow unless given.

    Rejects: none. What does not fit into the shares is left out.
    """
    given: Mapping[str, Sequence[Document] | None] = {"synthetic": rows, "phi1": phi1, "web": web, "code": code}
    parts = {name: part for name, part in given.items() if part is not None}
    weights = shares or SHARES[variant]
    if missing := [name for name, weight in weights.items() if weight > 0 and name not in parts]:
        raise BadInput(
            f"phi-1-5-mix: {shares or variant} takes a share of {', '.join(missing)}, which is not given: add "
            f"{' and '.join(f'--{name} FILE' for name in missing)}, or say other shares"
        )
    wanted = {name: weight for name, weight in weights.items() if name in parts}
    for name, row in mixed(run.rng("mix"), {name: parts[name] for name in wanted}, wanted, total_rows):
        made = MixedText(text=row.text, part=name)
        run.link(made, row)
        yield made


@phi_1_5_mix.check
def shares_are_of_known_parts(shares: dict[str, float] | None) -> None:
    known = ("synthetic", "phi1", "web", "code")
    if unknown := set(shares or {}) - set(known):
        raise BadInput(f"phi-1-5-mix: shares of {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    if shares is not None and not any(weight > 0 for weight in shares.values()):
        raise BadInput(f"phi-1-5-mix: shares={shares} leave nothing; at least one must be above 0")
