"""A lock that the workers of a test run share, for tests that look at the machine's processes."""

import fcntl
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(name: str):
    with open(Path(tempfile.gettempdir()) / f"gristmill-tests-{name}.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
