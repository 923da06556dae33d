"""Writing rows in the formats that trainers read."""

from gristmill.export.formats import export

__all__ = ["export"]
