"""What each `/umtn/…` address means, apart from how it arrived: OSC, OSCQuery, the page.

`answer(address, arguments)` acts and returns the replies for the sender; it never raises on bad input and
nothing moves unless the whole message is right (a number out of range is clipped, and said so).
Threading model: any thread may call anything; tables are replaced as a whole, never changed in place.
"""

from __future__ import annotations

import difflib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from realtime.control.address_pattern import MAX_PATTERN, is_pattern, literal_start, matches, refusal, steps
from realtime.control.routes import (
    ERROR,
    NORMALIZED,
    NOTHING,
    Action,
    Reply,
    Route,
    Setter,
    Value,
    action_route,
    event_route,
    list_route,
    normalized_route,
    setter,
    status_route,
    value_route,
)
from realtime.control.values import BadValue, Conflict, Nearest, Teller, Who, as_index, as_number, quoted
from realtime.shared.memory import PARAMETER_INDEX, SharedState
from realtime.shared.messages import PlayingBundle
from realtime.shared.parameters import (
    FAMILIES,
    MAX_LATENT,
    PREFIX,
    STATUS,
    VALUES,
    Family,
    Parameter,
    Status,
    with_domains,
)
from realtime.shared.scheduling import Room
from umtn.errors import UserError

__all__ = [
    "Action",
    "Added",
    "BadValue",
    "ERROR",
    "NORMALIZED",
    "NOTHING",
    "Namespace",
    "Reply",
    "Route",
    "Setter",
    "VALUES",
    "Value",
    "family_members",
    "find_parameter",
    "known_parameter",
    "member",
    "nearest",
    "quoted",
]


_MAX_CACHED = 256
_STEPS_PER_S = 500_000  # of patterns that are new: a fifth of a second's work

# Gets address and arguments of a message that was not refused
Tap = Callable[[str, Sequence[object]], None]


class Added(NamedTuple):
    """A further address: its route, and what OSCQuery says of it (tags None: not known)."""

    route: Route
    tags: str | None
    description: str


class Namespace:
    """The address space of one session, over its shared memory.

    texts: the string statuses. actions: name -> what to do, filled by their owners. revision: rises whenever
    addresses, choices or ranges have changed. setters: address -> quick way to set a number. taps: who is told of
    what `answer` has done.
    """

    def __init__(self, shared: SharedState, domains: tuple[str, ...], latent_channels: int = 0) -> None:
        self.shared = shared
        self.room: Room | None = None  # what the decoders cost on this machine, once audio has said so
        self.can_transpose = self.has_temperature = True
        self.slack: int | None = None  # blocks that the model works ahead; None: not known, or no device
        self.bundles: Callable[[], list[dict[str, Any]]] = list  # see Actions.bundles; reads folders
        self.texts = {status.name: "" for status in STATUS if status.kind == "string"}
        self.actions: dict[str, Action] = {}
        self.added: dict[str, Added] = {}
        self.contest = Conflict()
        self.taps: tuple[Tap, ...] = ()
        self.revision = 0
        self._nearest = Nearest()
        self._second, self._steps_left = 0.0, 0
        self._blending = threading.Lock()
        self.redomain(domains, latent_channels)
        self.add(f"{PREFIX}ping", lambda arguments: [(f"{PREFIX}pong", ())], "I", "answers /umtn/pong")

    def redomain(self, domains: tuple[str, ...], latent_channels: int) -> None:
        """Another bundle plays: make all tables anew. Actions and added addresses stay.

        A choice that the new bundle does not have becomes its first, and weights beyond its domains are 0.
        """
        self.domains = domains
        self.latent_channels = min(latent_channels, MAX_LATENT)
        self.parameters = with_domains(domains)
        valued = tuple(p for p in self.parameters if p.kind not in ("event", "action"))
        cells = np.array([PARAMETER_INDEX[p.stored] for p in valued], dtype=np.intp)
        self._valued = (valued, cells)
        self.channels = {p.address: p for f in FAMILIES for p in self._channels_of(f)}
        self.setters: dict[str, Setter] = {
            p.address: setter(self, p) for p in (*valued, *self.channels.values())
        }
        for p in valued:
            if p.kind == "choice" and self.shared.get(p.stored) > p.high:
                self.shared.set(p.stored, p.default)
        self._tabulate()

    def add(self, address: str, route: Route, tags: str | None = None, description: str = "") -> None:
        """A further address (ping, subscribe); patterns do not reach it. tags: OSC types that it takes."""
        self.added = {**self.added, address: Added(route, tags, description)}
        self._tabulate()

    def _tabulate(self) -> None:
        table: dict[str, Route] = {}
        make = {"event": event_route, "action": action_route}
        for p in self.parameters:
            table[p.address] = make.get(p.kind, value_route)(self, p)
            if p.kind not in make:
                table[p.address + NORMALIZED] = normalized_route(self, p)
        table.update({s.address: status_route(self, s) for s in STATUS})
        if self.latent_channels:
            table.update({f.address: list_route(self, f) for f in FAMILIES})
        table.update({address: added.route for address, added in self.added.items()})
        self.routes = table
        self._matched: dict[tuple[str, bool], tuple[str, ...]] = {}
        self._nearest.forget()
        self.revision += 1

    def _channels_of(self, family: Family) -> list[Parameter]:
        return [
            Parameter(
                f"{family.name}/{i}", "float", family.low, family.high, "", family.default, "linear", 0.0,
                family.description, None,
            )
            for i in range(self.latent_channels)
        ]  # fmt: skip

    def receive(
        self, address: str, arguments: Sequence[object], who: Who, tell: Teller, now: float | None = None
    ) -> list[Reply]:
        """The one way of all messages from UDP, a WebSocket or a page: act, and note who has set what.

        who: its sender, whom `tell` reaches from any thread. now: monotonic seconds, if the caller has them.
        """
        if len(arguments) != 1:
            return self.answer(address, arguments)
        value = arguments[0]
        quick = self.setters.get(address)
        if quick is not None and isinstance(value, (float, int)):
            replies = quick(value)
        else:
            replies = self.answer(address, arguments)
        # A dial and a fader on one parameter count apart: their numbers differ even where they agree.
        if not replies and (quick is not None or address.removesuffix(NORMALIZED) in self.setters):
            self.contest.note(address, value, who, tell, now)
        return replies

    def answer(self, address: str, arguments: Sequence[object]) -> list[Reply]:
        """Act on one message whose sender needs no name; the replies are for it."""
        route = self.routes.get(address) or self._channel_route(address)
        if route is not None:
            replies = route(arguments)
            if self.taps and not any(reply[0] == ERROR for reply in replies):
                for tap in self.taps:
                    tap(address, arguments)
            return replies
        if is_pattern(address):
            return self._answer_pattern(address, arguments)
        if address in (ERROR, f"{PREFIX}pong"):
            return NOTHING  # another server's replies: answering them would never end
        near = self._nearest(address[:MAX_PATTERN], self.routes)
        hint = f"; the nearest known is {near}" if near else ""
        return [(ERROR, (f"unknown address {quoted(address)}{hint}",))]

    def _channel_route(self, address: str) -> Route | None:
        """Numbered parameters (latent/scale/17) are not in the table of routes: there are hundreds."""
        parameter = self.channels.get(address)
        if parameter is not None:
            return value_route(self, parameter)
        parameter = self.channels.get(address.removesuffix(NORMALIZED))
        return None if parameter is None else normalized_route(self, parameter)

    def _answer_pattern(self, pattern: str, arguments: Sequence[object]) -> list[Reply]:
        refused = refusal(pattern)
        if refused:
            return [(ERROR, (refused,))]
        found = self._matching(pattern, bool(arguments))
        if found is None:
            return [(ERROR, (f"too many new patterns in this second; {quoted(pattern)} was not looked up",))]
        if not found:
            return [(ERROR, (f"no address matches the pattern {quoted(pattern)}",))]
        return [reply for address in found for reply in self.answer(address, arguments)]

    def _matching(self, pattern: str, sets: bool) -> tuple[str, ...] | None:
        """Addresses that a pattern reaches; None where this second's work is done. A bare "/umtn/*" asks for values: it
        fires no events in passing."""
        known = self._matched.get((pattern, sets))
        if known is not None:
            return known
        skipped = set(self.added)
        if not sets:
            skipped |= {p.address for p in self.parameters if p.kind in ("event", "action")}
        head = pattern.rpartition("/")[0]
        candidates = [a for a in self.routes if a not in skipped]
        start, slashes = literal_start(pattern), 0 if "{" in pattern else pattern.count("/")
        families = {f.address + "/" for f in FAMILIES if matches(head, f.address)}
        if families:
            candidates += [a for a in self.channels if a[: a.rindex("/") + 1] in families]
        near = [a for a in candidates if a.startswith(start) and slashes in (0, a.count("/"))]
        if not self._may_match(steps(pattern) * len(near)):
            return None
        found = tuple(a for a in near if matches(pattern, a))
        if len(self._matched) >= _MAX_CACHED:
            self._matched = {}
        self._matched[(pattern, sets)] = found
        return found

    def _may_match(self, work: int) -> bool:
        """Whether this second has room for it; the first pattern of a second always has."""
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._steps_left = now, _STEPS_PER_S
        elif self._steps_left < work:
            return False
        self._steps_left -= work
        return True

    def current(self) -> dict[str, Value]:
        """Address -> value of every parameter and status, as it is sent; without the latent channels."""
        valued, cells = self._valued
        numbers = self.shared.parameters[cells].tolist()
        values: dict[str, Value] = {p.address: _shown(p, n) for p, n in zip(valued, numbers)}
        for status in STATUS:
            values[status.address] = self.status_value(status)
        return values

    def family(self, family: Family) -> tuple[float, ...]:
        """Values of all its channels, from 0."""
        return tuple(self.shared.parameters[self.cells_of(family)].tolist())

    def cells_of(self, family: Family) -> slice:
        """Where its channels are in the shared memory."""
        start = PARAMETER_INDEX[f"{family.name}/0"]
        return slice(start, start + self.latent_channels)

    def value(self, parameter: Parameter) -> Value:
        """Current value as it is sent: a choice by its name, a bool as 0 or 1."""
        return _shown(parameter, self.shared.get(parameter.stored))

    def position(self, parameter: Parameter) -> float:
        """Current value as a dial's position, 0..1."""
        return parameter.normalize(self.shared.get(parameter.stored))

    def status_value(self, status: Status) -> Value:
        """Latest status figure as it is sent."""
        if status.kind == "string":
            return self.texts[status.name]
        number = self.shared.status_get(status.name)
        if not math.isfinite(number):
            return 0.0
        if status.kind == "choice" and 0 <= int(number) < len(self.domains):
            return self.domains[int(number)]
        return int(number) if status.kind in ("int", "choice") else number

    def told(self, bundle: PlayingBundle) -> None:
        """Take over what the audio process says of the bundle that it plays."""
        self.texts["engine"], self.texts["bundle"] = bundle.engine, bundle.name
        if bundle.can_transpose != self.can_transpose:
            self.can_transpose = bundle.can_transpose
            self.revision += 1
        self.has_temperature = bundle.has_temperature
        self.room = bundle.room

    def fixed_at_zero(self, parameter: Parameter) -> bool:
        """True for what the present bundle cannot do."""
        return parameter.name == "transpose" and not self.can_transpose

    def unused(self, parameter: Parameter) -> bool:
        """True for what does nothing with the present bundle, so that a page need not show it."""
        return self.fixed_at_zero(parameter) or (parameter.name == "temperature" and not self.has_temperature)

    def set(self, parameter: Parameter, value: object) -> list[Reply]:
        """Store a value given by name, number or bool; the reply tells of clipping or of refusal."""
        try:
            text = isinstance(value, str)
            number = as_index(parameter, str(value)) if text else as_number(parameter.address, value)
        except BadValue as error:
            return [(ERROR, (str(error),))]
        return self.store(parameter, number)

    def store(self, parameter: Parameter, number: float) -> list[Reply]:
        """Store a finite number, clipped to its range."""
        clipped = parameter.clip(number)
        if parameter.stored.startswith("blend/"):
            with self._blending:
                refused = self._no_room_for(parameter, clipped)
                if refused:
                    return [(ERROR, (refused,))]
                self.shared.set(parameter.stored, clipped)
        elif clipped != 0 and self.fixed_at_zero(parameter):
            text = (
                f"{parameter.address} was not set: this bundle's latent names no pitches that could be moved"
            )
            return [(ERROR, (text,))]
        else:
            self.shared.set(parameter.stored, clipped)
        if parameter.name == "to":  # choosing a domain ends a blend
            for i in range(len(self.domains)):
                self.shared.set(f"blend/{i}", 0.0)
        if parameter.low <= number <= parameter.high:
            return NOTHING
        text = (
            f"{parameter.address} takes {parameter.low:g} to {parameter.high:g} {parameter.unit}".rstrip()
            + f", but {number:g} came; {clipped:g} was set"
        )
        return [(ERROR, (text,))]

    def _no_room_for(self, parameter: Parameter, weight: float) -> str:
        """Why this weight would be one decoder too many for the machine; "" if it is not."""
        most = self.shared.status_get("blend_max")
        if weight <= 0 or not most > 0 or self.shared.get(parameter.stored) > 0:
            return ""
        weights = {d: self.shared.get(f"blend/{i}") for i, d in enumerate(self.domains)}
        sounding = [d for d, w in weights.items() if w > 0]
        if len(sounding) < most:
            return ""
        figure = (
            self.room.refusal(int(most) + 1) if self.room else ""
        ) or f"this machine holds {int(most)} decoders"
        return (
            f"{parameter.address} was not set: {figure}; {', '.join(sounding)} have a weight already, "
            "set one of them to 0 first"
        )


def _shown(parameter: Parameter, number: float) -> Value:
    if parameter.kind == "choice" and 0 <= int(number) < len(parameter.choices):
        return parameter.choices[int(number)]
    return int(number) if parameter.kind in ("bool", "choice") else number


_FAMILIES = {family.name: family for family in FAMILIES}


def member(family: Family, number: int) -> Parameter:
    """One of a family as a parameter of its own."""
    return Parameter(
        f"{family.name}/{number}", "float", family.low, family.high, "", family.default, "linear", 0.0,
        family.description, None,
    )  # fmt: skip


def family_members(latent_channels: int) -> Iterator[Parameter]:
    """All numbered parameters of a bundle with so many latent channels."""
    for family in FAMILIES:
        yield from (member(family, i) for i in range(min(latent_channels, family.count)))


def find_parameter(namespace: Namespace, name: str) -> Parameter | None:
    """The parameter of that name (`mix`) or address (`/umtn/mix`) in this session, or None."""
    name = name.removeprefix(PREFIX).strip("/")
    for parameter in namespace.parameters:
        if parameter.name == name:
            return parameter
    head, _, number = name.rpartition("/")
    if head not in _FAMILIES or not (number.isascii() and number.isdecimal() and len(number) < 6):
        return None
    return member(_FAMILIES[head], int(number)) if int(number) < namespace.latent_channels else None


def nearest(namespace: Namespace, name: str) -> str:
    """Advice for a name that nobody knows."""
    names = [p.name for p in namespace.parameters]
    near = difflib.get_close_matches(name.removeprefix(PREFIX)[:60], names, 1)
    return f"; did you mean {near[0]}?" if near else ""


def known_parameter(namespace: Namespace, name: str) -> Parameter:
    """As find_parameter; UserError if there is none."""
    parameter = find_parameter(namespace, name)
    if parameter is None:
        raise UserError(f"there is no parameter {name[:60]!r}{nearest(namespace, name)}")
    return parameter
