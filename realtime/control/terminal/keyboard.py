"""Single keys from the terminal, without Return and without an echo, and the terminal as it was afterwards.

Threading model: the main thread only. Ctrl-C keeps its meaning. A program in the background (`&`, Ctrl-Z) leaves
the terminal alone: reading or changing it would stop the whole program, sound included.
"""

from __future__ import annotations

import atexit
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from realtime.control.namespace import ERROR
from realtime.shared.parameters import PREFIX, by_name

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["HELP", "Keyboard", "Keys", "NoKeyboard", "PosixKeyboard", "WindowsKeyboard", "open_keyboard"]


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


# What the keys of the terminal do; everything goes through `Namespace.answer`, as from OSC.
#
# Threading model: `poll` is called by the main thread, between two drawings of the view.


MIX_STEP = 0.05
GAIN_STEP_DB = 1.0
HELP = (
    "1-9, 0 domain   left/right mix   up/down gain   f freeze   b bypass   m mute   r record   p panic",
    "n next preset   N previous   s save as a new preset   S save over the current one   u undo that   ? help   q quit",
)
_TOGGLES = {"f": "freeze", "b": "bypass", "m": "mute"}
_STEPS = {
    "left": ("mix", -MIX_STEP),
    "right": ("mix", MIX_STEP),
    "down": ("output/gain_db", -GAIN_STEP_DB),
    "up": ("output/gain_db", GAIN_STEP_DB),
}
_EVENTS = {"p": "panic", "n": "preset/next", "N": "preset/previous", "u": "preset/undo"}


class Keys:
    """Single-key control. say: gets sentences to show. save_new: keeps a preset under a name of its own.

    Does nothing where there is no terminal. `close` gives the terminal back and must run however it ends.
    """

    def __init__(
        self,
        namespace: Namespace,
        on_quit: Callable[[], None],
        say: Callable[[str], None] = lambda _: None,
        save_new: Callable[[], str] | None = None,
        keyboard: Keyboard | None = None,
    ) -> None:
        self._namespace, self._on_quit, self._say, self._save_new = namespace, on_quit, say, save_new
        self._keyboard = open_keyboard() if keyboard is None else keyboard

    def poll(self) -> None:
        """Act on the keys pressed since the last time."""
        for key in self._keyboard.read():
            try:
                self.press(key)
            except Exception as error:  # a fault behind one key must not end the performance
                self._say(f"the key {key} failed inside the program ({type(error).__name__}: {error})")

    def close(self) -> None:
        """Give the terminal back as it was; may be called twice."""
        self._keyboard.close()

    def press(self, key: str) -> None:
        """Act on one key; keys without a meaning do nothing."""
        if key == "q":
            self._on_quit()
        elif key == "?":
            for line in HELP:
                self._say(line)
        elif key in "0123456789" and len(key) == 1:
            self._choose((int(key) - 1) % 10)
        elif key in _TOGGLES:
            self._send(_TOGGLES[key], float(self._namespace.shared.get(_TOGGLES[key]) < 0.5))
        elif key in _STEPS:
            self._step(*_STEPS[key])
        elif key in _EVENTS:
            self._send(_EVENTS[key], 1.0)
        elif key == "r":
            self._send("record", float(not self._namespace.shared.status_get("recording") > 0))
        elif key in ("s", "S"):
            self._save(over=key == "S")

    def _choose(self, index: int) -> None:
        domains = self._namespace.domains
        if index < len(domains):
            self._send("to", domains[index])
        else:
            numbered = ", ".join(f"{i + 1} {domain}" for i, domain in enumerate(domains[:10]))
            self._say(f"there is no domain {index + 1}; there are {numbered}")

    def _step(self, name: str, by: float) -> None:
        parameter = by_name(name)
        value = self._namespace.shared.get(name) + by
        self._send(name, parameter.clip(round(round(value / by) * by, 6)))

    def _save(self, over: bool) -> None:
        current = self._namespace.texts["preset"]
        if over and current:
            self._send("preset/save", current)
        elif over:
            self._say("no preset is recalled yet; s saves a new one")
        elif self._save_new is None:
            self._say("there are no presets in this session")
        else:
            try:
                self._say(f"saved as {self._save_new()}")
            except ValueError as error:
                self._say(str(error))

    def _send(self, name: str, value: float | str) -> None:
        for address, arguments in self._namespace.answer(PREFIX + name, [value]):
            text = str(arguments[0]) if arguments else ""
            if address == ERROR:
                self._say(text)
            elif name == "preset/save":
                self._say(f"saved as {text}")
