"""Pure Data canvases as text: objects numbered in file order, cords by number, free text escaped."""

from __future__ import annotations

from itertools import pairwise

__all__ = ["Canvas", "escape"]


class Canvas:
    """One canvas: objects are numbered in the order of the file, comments and subpatches too."""

    def __init__(self, head: str) -> None:
        self._lines = [head]
        self._cords: list[str] = []
        self._count = 0

    def add(self, kind: str, x: float, y: float, content: str) -> int:
        """An object (`obj`, `msg`, `text`, `floatatom`, `symbolatom`); content as it stands in the file."""
        return self._append(f"#X {kind} {x:g} {y:g} {content}".rstrip() + ";")

    def obj(self, x: float, y: float, content: str) -> int:
        """An object box."""
        return self.add("obj", x, y, content)

    def chain(self, *numbers: int) -> None:
        """Cords from each to the next, first outlet to first inlet."""
        for source, destination in pairwise(numbers):
            self.cord(source, 0, destination)

    def cord(self, source: int, outlet: int, destination: int, inlet: int = 0) -> None:
        """A patch cord."""
        self._cords.append(f"#X connect {source} {outlet} {destination} {inlet};")

    def subpatch(self, inner: Canvas, x: float, y: float, name: str) -> int:
        """A canvas within this one."""
        return self._append(inner.text().rstrip("\n") + f"\n#X restore {x:g} {y:g} pd {name};")

    def text(self) -> str:
        """The canvas as it stands in the file."""
        return "\n".join([*self._lines, *self._cords]) + "\n"

    def _append(self, line: str) -> int:
        self._lines.append(line)
        self._count += 1
        return self._count - 1


def escape(text: str) -> str:
    """Free text for a .pd file."""
    for character in "\\,;$":
        text = text.replace(character, ("" if character == "\\" else " ") + "\\" + character)
    return " ".join(text.split())
