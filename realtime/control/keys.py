"""What the keys of the terminal do; everything goes through `Namespace.answer`, as from OSC.

Threading model: `poll` is called by the main thread, between two drawings of the view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from realtime.control.namespace import ERROR
from realtime.control.raw_keyboard import Keyboard, open_keyboard
from realtime.parameters import PREFIX, by_name

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["HELP", "Keys"]

MIX_STEP = 0.05
GAIN_STEP_DB = 1.0
HELP = (
    "1-9, 0 domain   left/right mix   up/down gain   f freeze   b bypass   m mute   r record   p panic",
    "n next preset   N previous   s save as a new preset   S save over the current one   ? help   q quit",
)
_TOGGLES = {"f": "freeze", "b": "bypass", "m": "mute"}
_STEPS = {
    "left": ("mix", -MIX_STEP),
    "right": ("mix", MIX_STEP),
    "down": ("output/gain_db", -GAIN_STEP_DB),
    "up": ("output/gain_db", GAIN_STEP_DB),
}
_EVENTS = {"p": "panic", "n": "preset/next", "N": "preset/previous"}


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
