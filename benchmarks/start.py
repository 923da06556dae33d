"""What a newcomer waits for: `gristmill --help`, and the size of a core install.

python benchmarks/start.py
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from importlib.metadata import distribution

from figures import figure, machine


def seconds(*arguments: str) -> float:
    """Median of seven, after one to warm the disk's cache."""
    found = []
    for _ in range(8):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


def core() -> set[str]:
    """The packages that an install without extras brings, ourselves included."""
    found: set[str] = set()
    left = ["gristmill"]
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name not in found:
            found.add(name)
            for need in distribution(name).requires or []:
                package, _, marker = need.partition(";")
                if "extra" not in marker and not re.search(
                    r"python_version\s*<|platform_system\s*==|sys_platform\s*==", marker
                ):
                    left.append(re.split(r"[\s<>=!~\[(]", package.strip())[0])
    return found


def main() -> None:
    bare, ours = seconds("-c", "pass"), seconds("-m", "gristmill.cli", "--help")
    packages = sorted(core())
    figure("gristmill --help", f"{ours:.2f} s (Python alone {bare:.2f} s)", aim="under 0.3 s", met=ours < 0.3)
    figure("packages of a core install", f"{len(packages)}", aim="at most 30", met=len(packages) <= 30)
    print(f"{', '.join(packages)}\n{machine()}")


if __name__ == "__main__":
    main()
