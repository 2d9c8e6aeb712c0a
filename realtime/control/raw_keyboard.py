"""Single keys from the terminal, without Return and without an echo, and the terminal as it was afterwards.

Threading model: the main thread only. Ctrl-C keeps its meaning. A program in the background (`&`, Ctrl-Z) leaves
the terminal alone: reading or changing it would stop the whole program, sound included.
"""

from __future__ import annotations

import atexit
import os
import select
import sys
from contextlib import suppress
from typing import Any, Protocol, TextIO

__all__ = ["Keyboard", "NoKeyboard", "PosixKeyboard", "WindowsKeyboard", "open_keyboard"]

_NAMES = {"A": "up", "B": "down", "C": "right", "D": "left"}
_MOST = 1024  # characters of one poll: a pasted novel must not hold the program up


class Keyboard(Protocol):
    """Keys as single characters; arrows as "up", "down", "left", "right"."""

    def read(self) -> list[str]: ...

    def close(self) -> None: ...


class NoKeyboard:
    """Where there is no terminal to read from."""

    def read(self) -> list[str]:
        """Nothing."""
        return []

    def close(self) -> None:
        """Nothing."""


def open_keyboard(stream: TextIO | None = None) -> Keyboard:
    """The keyboard of this terminal (of stdin); one that is silent if stdin is none."""
    stream = sys.stdin if stream is None else stream
    try:
        if stream is None or not stream.isatty():
            return NoKeyboard()
        return WindowsKeyboard() if sys.platform == "win32" else PosixKeyboard(stream.fileno())
    except (OSError, ValueError, ImportError):  # closed, or a terminal that cannot be asked
        return NoKeyboard()


def split_keys(text: str) -> tuple[list[str], str]:
    """Keys in the characters that a terminal sent, and a half escape sequence that waits for its end."""
    keys: list[str] = []
    i = 0
    while i < len(text):
        if text[i] != "\x1b":
            keys.append(text[i])
            i += 1
            continue
        if i + 1 >= len(text):
            return keys, text[i:]
        if text[i + 1] not in "[O":  # Alt and a key, or Escape itself: no command here
            i += 1 if text[i + 1] == "\x1b" else 2
            continue
        end = i + 2
        while end < len(text) and not "@" <= text[end] <= "~":
            end += 1
        if end >= len(text):
            return keys, text[i:]
        if end == i + 2 and text[end] in _NAMES:
            keys.append(_NAMES[text[end]])
        i = end + 1
    return keys, ""


class PosixKeyboard:
    """A terminal of Linux or macOS. Restored by `close`, which also runs when the interpreter ends."""

    def __init__(self, fd: int) -> None:
        import termios

        self._termios: Any = termios
        self._fd = fd
        self._before: Any = termios.tcgetattr(fd)
        self._raw: Any = None
        self._rest = ""
        self._closed = False
        atexit.register(self.close)
        self._grab()

    def read(self) -> list[str]:
        """Keys pressed since the last time; [] while in the background."""
        if self._closed or not self._in_front():
            return []
        try:
            if self._termios.tcgetattr(self._fd) != self._raw:  # a shell had it in between (Ctrl-Z, fg)
                self._grab()
            if not select.select([self._fd], [], [], 0)[0]:
                self._rest = ""  # an Escape that nothing followed
                return []
            data = os.read(self._fd, _MOST)
        except (OSError, ValueError, self._termios.error):
            data = b""
        if not data:  # readable, but nothing there: the terminal is gone
            self.close()
            return []
        keys, self._rest = split_keys(self._rest + data.decode("utf-8", "replace"))
        return keys

    def close(self) -> None:
        """Give the terminal back as it was; may be called twice."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        with suppress(OSError, self._termios.error):
            if self._raw is not None and self._in_front():
                self._termios.tcsetattr(self._fd, self._termios.TCSANOW, self._before)

    def _in_front(self) -> bool:
        with suppress(OSError):
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        return False

    def _grab(self) -> None:
        """Keys at once and no echo.

        Ctrl-S, Ctrl-Z and Ctrl-\\ do nothing: on stage they would stop the view, the sound, everything.
        """
        t = self._termios
        if not self._in_front():
            return
        wanted = t.tcgetattr(self._fd)
        wanted[0] &= ~t.IXON
        wanted[3] &= ~(t.ICANON | t.ECHO)
        wanted[6][t.VMIN], wanted[6][t.VTIME] = 1, 0
        nothing = bytes([os.fpathconf(self._fd, "PC_VDISABLE") & 0xFF])
        for character in ("VSUSP", "VDSUSP", "VQUIT"):
            if hasattr(t, character):
                wanted[6][getattr(t, character)] = nothing
        t.tcsetattr(self._fd, t.TCSANOW, wanted)
        self._raw = t.tcgetattr(self._fd)


class WindowsKeyboard:
    """A console of Windows, which gives single keys without being changed."""

    _ARROWS = {"H": "up", "P": "down", "M": "right", "K": "left"}

    def __init__(self) -> None:
        import msvcrt

        self._console: Any = msvcrt

    def read(self) -> list[str]:
        """Keys pressed since the last time."""
        keys: list[str] = []
        while len(keys) < _MOST and self._console.kbhit():
            key = self._console.getwch()
            if key in "\x00\xe0":
                key = self._ARROWS.get(self._console.getwch(), "")
            if key:
                keys.append(key)
        return keys

    def close(self) -> None:
        """Nothing to give back."""
