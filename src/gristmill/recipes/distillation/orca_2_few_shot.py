"""Orca 2's few-shot rows (Mitra et al. 2023, section 4): answers of Orca put behind others of their task as demonstrations."""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Rows, Run, recipe
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.orca import OrcaAnswer
from gristmill.recipes.distillation.orca_2 import CautiousAnswer, erased, sample

DEMONSTRATION = Prompt(
    """### Task
{query}

### Answer
{response}

"""
)
QUERY = Prompt(
    """{demonstrations}### Task
{query}

### Answer
"""
)


@recipe("orca-2-few-shot", fixed=True)
async def orca_2_few_shot(
    rows: Rows[OrcaAnswer],
    run: Run,
    *,
    few_shot: Annotated[int, Meta(ge=1)] = 55_000,
    min_demonstrations: Annotated[int, Meta(ge=1)] = 3,
    max_demonstrations: Annotated[int, Meta(ge=1)] = 5,
) -> AsyncIterator[CautiousAnswer]:
    """Turn rows of `orca` into few-shot rows: demonstrations of the same task before the query, the response as it was.

    Asks no model. Demonstrations share collection, task, system message and teacher with the row, so that they show what is wanted.
    They stand in the user's message, so that no loss falls on them. (Mitra et al. 2023, arXiv:2311.11045, section 4.)
    As elsewhere in Orca 2 the system message is replaced by the generic one; that the paper does so here is not confirmed.

    Args:
        few_shot: rows to make, drawn at random; all that can be made where there are fewer.
        min_demonstrations: of a row. Not confirmed.
        max_demonstrations: of a row; as many as drawn, or as there are. Not confirmed.

    Rejects: `too_few_demonstrations` (one for all rows that have not enough others beside them, or whose
            task has no name, so that nobody knows what is like them; details: rows).
    """
    groups: dict[tuple[str, str, str, int], list[OrcaAnswer]] = defaultdict(list)
    for row in rows:
        groups[row.collection, row.task, row.system, row.stage].append(row)
    enough, few = [], set()
    for (_, task, _, _), those in groups.items():
        if task and len(those) > min_demonstrations:
            enough.append(those)
        else:
            few.add(task)
    usable = [(group, number) for group in enough for number in range(len(group))]
    if len(usable) < len(rows):  # one for all, as a reject is a candidate lost
        run.reject(sorted(few), "too_few_demonstrations", rows=len(rows) - len(usable))
    rng = run.rng("few_shot")
    for group, number in sample(rng, usable, few_shot):
        others = group[:number] + group[number + 1 :]
        count = rng.randint(min_demonstrations, min(max_demonstrations, len(others)))
        shown = rng.sample(others, count)
        row = group[number]
        demonstrations = "".join(DEMONSTRATION(query=other.query, response=other.response) for other in shown)
        made = CautiousAnswer(
            messages=erased(QUERY(demonstrations=demonstrations, query=row.query).strip(), row.response),
            source="few_shot",
            cluster="",
            task=row.task,
            strategy="",
            right=None,
        )
        run.link(made, row, *shown)
        yield made


@orca_2_few_shot.check
def the_range_is_one(min_demonstrations: int, max_demonstrations: int) -> None:
    if min_demonstrations > max_demonstrations:
        raise BadInput(
            f"orca-2-few-shot: min_demonstrations={min_demonstrations} is above max_demonstrations={max_demonstrations}"
        )
