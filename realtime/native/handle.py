"""What a kernel's library has made, as its owner in Python holds it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Handle"]


class Handle:
    """An address, for ctypes to pass on; `free` gets it once, by `close` or when nobody holds this any more.

    After `close`, ctypes refuses it (ArgumentError).
    """

    __slots__ = ("_as_parameter_", "_free")

    def __init__(self, address: int, free: Callable[[int], None]) -> None:
        self._as_parameter_, self._free = address, free

    def close(self) -> None:
        if hasattr(self, "_as_parameter_"):
            self._free(self._as_parameter_)
            del self._as_parameter_

    def __del__(self) -> None:
        self.close()
