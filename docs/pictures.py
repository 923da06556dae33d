"""Makes the pictures of these pages: `.venv/bin/python docs/pictures.py`. Needs the extra `charts`."""

import asyncio
from pathlib import Path

import msgspec

from gristmill import recipes
from gristmill.recipes.multimodal.chartllama import FIGURE, ChartExample
from gristmill.verify import Program, Sandbox
from gristmill.verify.plotting import LIMITS

FOLDER = Path(__file__).parent / "pictures"


async def main() -> None:
    """A chart that ships as an example, drawn as a model's would be: in the sandbox."""
    lines = (recipes.DATA / "chart_examples.jsonl").read_text(encoding="utf-8").splitlines()
    [example] = [e for line in lines if (e := msgspec.json.decode(line, type=ChartExample)).chart_type == "line"]
    async with Sandbox(["matplotlib"], limits=LIMITS) as sandbox:
        verdict = await sandbox.run(Program(example.code, keep=[FIGURE]))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "chartllama.png").write_bytes(verdict.files[FIGURE])


if __name__ == "__main__":
    asyncio.run(main())
