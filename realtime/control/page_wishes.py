"""What a page asks for: {"set": {name: value}} and {"midi": {"learn": name, "forget": name, "cancel": true}}.

Threading model: in the web server's loop. Only actions are handed to a thread of their own, one after another:
a disk may be slow, and neither panic nor the meters must wait for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from realtime.control.namespace import ERROR, Namespace, Reply
from realtime.control.page import Page
from realtime.parameters import PREFIX, Parameter

__all__ = ["Wishes"]

MAX_WAITING = 8
_SHOWN = 60  # characters of a foreign name that an error quotes


class Wishes:
    """Acts on the messages of all pages."""

    def __init__(self, namespace: Namespace, midi: Any = None) -> None:
        self._namespace, self._midi = namespace, midi
        self._waiting = 0
        self._worker = ThreadPoolExecutor(1, "web-action")

    def understand(self, page: Page, text: str) -> None:
        """Act on one message; whatever is wrong with it is told to the page."""
        try:
            message = json.loads(text)
            if not isinstance(message, dict) or not message.keys() <= {"set", "midi"}:
                raise ValueError("not understood: an object with `set` or `midi` was wanted")
            for name, value in dict(message.get("set", {})).items():
                self._set(page, name, value)
            for verb, argument in dict(message.get("midi", {})).items():
                self._teach(verb, argument)
        except json.JSONDecodeError as error:
            page.tell(error=f"not understood: no JSON ({error})")
        except ValueError as error:
            page.tell(error=str(error)[:400])
        except (TypeError, RecursionError) as error:
            page.tell(error=f"not understood: {str(error)[:120]}")

    def _set(self, page: Page, name: str, value: object) -> None:
        parameter = self._known(name)
        if parameter.kind == "action":
            self._act(page, name, value)
            return
        if value is not None and parameter.kind != "event":
            self._namespace.contest.note(parameter.address, value, page.name, page.tell_from_anywhere)
        _pass_on(page, name, self._namespace.answer(parameter.address, () if value is None else (value,)))

    def _known(self, name: object) -> Parameter:
        for parameter in self._namespace.parameters:
            if parameter.name == name:
                return parameter
        raise ValueError(f"there is no parameter {str(name)[:_SHOWN]!r} in this session")

    def _act(self, page: Page, name: str, value: object) -> None:
        if self._waiting >= MAX_WAITING:
            page.tell(error=f"{name}: {MAX_WAITING} earlier wishes are still being worked on")
            return
        self._waiting += 1
        arguments = () if value is None else (value,)
        done = self.in_turn(lambda: self._namespace.answer(PREFIX + name, arguments))

        def report(future: asyncio.Future[list[Reply]]) -> None:
            self._waiting -= 1
            if future.cancelled():
                return
            if error := future.exception():
                page.tell(error=f"{name} failed inside the program ({error})")
            else:
                _pass_on(page, name, future.result())

        done.add_done_callback(report)

    def in_turn(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Do something that may take long, after what was asked for before."""
        return asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _teach(self, verb: str, argument: object) -> None:
        if self._midi is None:
            raise ValueError("MIDI is off; start with --midi")
        if verb == "cancel":
            self._midi.cancel()
        elif verb in ("learn", "forget"):
            getattr(self._midi, verb)(self._known(argument).name)
        else:
            raise ValueError("midi takes learn, forget or cancel")

    def close(self) -> None:
        """Begin nothing more."""
        self._worker.shutdown(wait=False, cancel_futures=True)


def _pass_on(page: Page, name: str, replies: list[Reply]) -> None:
    for address, arguments in replies:
        if address == ERROR:
            page.tell(error=str(arguments[0]))
        elif arguments and isinstance(arguments[0], str):
            page.tell(note=f"{name}: {arguments[0]}")
