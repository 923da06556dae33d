"""Write the README's list of recipes from the registry: `python docs/recipes.py`."""

import re
from pathlib import Path

from gristmill import recipes

README = Path(__file__).parent.parent / "README.md"
PLACE = re.compile(r"(<!-- recipes:[^\n]*-->\n).*?(<!-- /recipes -->)", re.DOTALL)


def listing() -> str:
    lines = ["| recipe | what it does | paper |", "| --- | --- | --- |"]
    for name, entry in recipes.survey().items():
        arxiv = f" ([arXiv](https://arxiv.org/abs/{entry['arxiv']}))" if entry.get("arxiv") else ""
        module = f"src/gristmill/recipes/{entry['part'].replace('-', '_')}/{name.replace('-', '_')}.py"
        lines.append(f"| [`{name}`]({module}) | {entry['summary']} | {entry['paper']}{arxiv} |")
    return "\n".join(lines) + "\n"


def with_listing(text: str) -> str:
    return PLACE.sub(lambda found: f"{found[1]}{listing()}{found[2]}", text)


if __name__ == "__main__":
    README.write_text(with_listing(README.read_text(encoding="utf-8")), encoding="utf-8")
