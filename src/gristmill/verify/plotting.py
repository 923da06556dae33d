"""bubblewrap with matplotlib inside, for programs that draw. All else is as closed as it is to other programs."""

from __future__ import annotations

from gristmill.verify.bubblewrap import Bubblewrap
from gristmill.verify.values import Job, Limits, Program, SandboxTrouble

LIMITS = Limits(seconds=20.0, memory_mb=1536, files_kb=8192)
"""Those of a drawing that names none: matplotlib alone takes a second to load, and the address space of its libraries."""
CONFIG = "/tmp/.matplotlib"
FONTS = f"""
import os, shutil
import matplotlib.font_manager
[name] = [name for name in os.listdir("{CONFIG}") if name.startswith("fontlist")]
shutil.copy("{CONFIG}/" + name, "fonts")
print(name)
"""


class Plotting(Bubblewrap):
    """The list of fonts is made once, at the start: to look for fonts takes longer than to draw."""

    def __init__(self) -> None:
        variables = {"MPLBACKEND": "Agg", "MPLCONFIGDIR": CONFIG, "OPENBLAS_NUM_THREADS": "1"}
        install = "pip install 'gristmill[charts]'"
        super().__init__(["matplotlib"], name="matplotlib", variables=variables, install=install)

    def start(self) -> None:
        super().start()
        found = self.run(Program(FONTS, keep=["fonts"]), Limits(seconds=120.0, memory_mb=1536, files_kb=65536), Job())
        if not found.ok or "fonts" not in found.files:
            raise SandboxTrouble(
                f"matplotlib does not work inside: {found.outcome} {found.message} {found.stderr[-300:]}"
            )
        self.files = {f"{CONFIG}/{found.stdout.strip()}": found.files["fonts"]}
