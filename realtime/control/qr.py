"""A URL as a QR code in the terminal, so that nobody has to type a token into a phone."""

from __future__ import annotations

__all__ = ["qr_lines"]

QUIET = 2  # modules of white around; the standard says 4, cameras are content with 2
_GLYPHS = {(1, 1): "█", (1, 0): "▀", (0, 1): "▄", (0, 0): " "}


def qr_lines(url: str, colour: bool = False) -> list[str]:
    """Lines of half blocks, one character for two modules; [] if the segno package is not installed.

    Lit is white: right on a dark terminal. colour: with escapes that make it black on white on any terminal.
    """
    try:
        import segno
    except ImportError:
        return []
    rows = [[1 - (module & 1) for module in row] for row in segno.make(url, error="l", micro=False).matrix]
    width = len(rows[0]) + 2 * QUIET
    white = [1] * width
    rows = [white] * QUIET + [[1] * QUIET + row + [1] * QUIET for row in rows] + [white] * QUIET
    if len(rows) % 2:
        rows.append(white)
    lines = ["".join(_GLYPHS[pair] for pair in zip(*rows[i : i + 2])) for i in range(0, len(rows), 2)]
    return [f"\x1b[38;5;231;48;5;16m{line}\x1b[0m" for line in lines] if colour else lines
