"""Optional packages: whether they are installed, and in which version."""

from __future__ import annotations

import importlib.metadata
import importlib.util

from gristmill.errors import BadInput


def require(what: str, extra: str, *names: str) -> None:
    """Raises BadInput with the install line where one of the packages, named as they are imported, is not there."""
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        raise BadInput(
            f"{what} needs {' and '.join(missing)}, which is not installed: pip install 'gristmill[{extra}]'"
        )


def version(package: str) -> str:
    """Of a distribution; "" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
