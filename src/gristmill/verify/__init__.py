"""Running code that a model wrote, and judging it."""

from gristmill.verify.sandbox import Limits, Program, Sandbox, SandboxTrouble, Verdict

__all__ = ["Limits", "Program", "Sandbox", "SandboxTrouble", "Verdict"]
