"""What can go wrong, sorted by the boundary it crossed.

A recipe raises plain errors; the engine turns what escapes into a failure of that row. The classes here are for
what must travel further: a user's mistake, an endpoint's answer, the end of a run.
"""

from collections.abc import Iterable
from typing import Any


class GristmillError(Exception):
    """Base of every error that is shown to a user as one message, without a traceback."""


class BadInput(GristmillError):
    """A user's mistake: says what came, what was expected, where, and what to do. Exit code 1."""


class EndpointDown(GristmillError):
    """An endpoint that cannot serve this run at all (unreachable, key refused, no such model). Stops the run."""


class DiskTrouble(GristmillError):
    """The journal could not be written (disk full, folder gone). What was committed before is intact."""


class CallFailed(GristmillError):
    """A call that got no usable answer. Journaled, so that a replay fails in the same place; costs one row."""


class Refused(CallFailed):
    """The endpoint refused this very question (HTTP 4xx). Asking again would not help."""

    def __init__(self, message: str, *, status: int = 400, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        """The endpoint's own code, e.g. "context_length_exceeded"; "" where it gave none."""


class PromptTooLong(Refused):
    """The prompt does not fit into the model's context."""


class Transient(GristmillError):
    """The endpoint could not answer now (429, 5xx, a cut connection). The engine retries; recipes never see it."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        busy: bool = False,
        unreachable: bool = False,
        down: bool = False,
        limits: Any = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the endpoint asked us to wait, if it did."""
        self.busy = busy
        """It is well and has too much to do (429)."""
        self.unreachable = unreachable
        """No connection could be made at all: nothing answered."""
        self.down = down or unreachable
        """It cannot answer anybody now (502, 503, 529): no call is to blame. What else went wrong may be of this call."""
        self.limits = limits
        """`models.protocol.Limits`: what its rate-limit headers say is left, or None."""


class NotInJournal(GristmillError):
    """An offline replay met a call that the journal does not hold."""


class Unparsed(GristmillError):
    """A reply that cannot be read as what was asked for, also after the repair."""

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text
        """The reply as it came."""


class TrainingFailed(GristmillError):
    """A round of training that came to nothing: no row to learn from, or a loss that is no number. Stops the run; all
    rows and answers are kept."""


class Waiting(GristmillError):
    """Raised by a role that has to wait for a person: the row keeps its place until `resume`."""


class Stopped(BaseException):
    """The run ends here, resumable: a budget, a limit, Ctrl-C. Not an Exception, so that no recipe swallows it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """One word: "budget", "candidates", "interrupted"."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to append to an "unknown" message: the nearest known names, else all of them."""
    import difflib

    names = sorted(known)
    if close := difflib.get_close_matches(name, names, n=3, cutoff=0.5):
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names)}" if names else "there are none"
