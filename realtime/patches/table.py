"""What a patch needs to know of a session: its parameters, its figures, where it listens; and names for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from realtime.shared import parameters as table
from realtime.shared.parameters import Parameter, Status
from umtn.errors import UserError

__all__ = ["Session", "describe", "info_text", "titles"]

_UNIT_ENDINGS = ("_db", "_ms", "_us")
_ABBREVIATIONS = {"Input": "In", "Output": "Out"}
_SHORT = 9  # characters that fit over a dial of Live
# Each program listens on a port of its own, so that several can be open at once.
_REPLY_PORTS = {"max": 1, "live": 2}


@dataclass(frozen=True)
class Session:
    """One bundle behind one OSC port: all that the writers read."""

    bundle: str
    domains: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    status: tuple[Status, ...]
    host: str
    port: int

    @classmethod
    def of(cls, bundle: str, domains: tuple[str, ...], host: str = "127.0.0.1", port: int = 9100) -> Session:
        """The table as it stands now, for these domains; UserError if the port cannot be used."""
        highest = 65535 - max(_REPLY_PORTS.values())
        if not 1 <= port <= highest:
            raise UserError(
                f"--osc-port takes 1 to {highest} (the hosts listen on the ports after it), but {port} came"
            )
        if not host or any(c.isspace() or c in ",;\\$\"'" for c in host):
            raise UserError(f"--host takes an address such as 192.168.1.20, but {host!r} came")
        return cls(bundle, domains, table.with_domains(domains), table.STATUS, host, port)

    def reply_port(self, program: str) -> int:
        """UDP port that this program listens on."""
        return self.port + _REPLY_PORTS[program]

    @property
    def target(self) -> str:
        """host:port of the instrument."""
        return f"{self.host}:{self.port}"


def titles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Name -> (long title, short title): `input/gain_db` -> ("Input Gain", "In Gain"); long ones are unique."""
    long = {name: _title(name) for name in names}
    short = {name: _shorten(title) for name, title in long.items()}
    twins = [Counter(found.values()) for found in (long, short)]
    return {
        name: (
            long[name] if twins[0][long[name]] == 1 else name,
            short[name] if twins[1][short[name]] == 1 else _abbreviate(long[name]),
        )
        for name in long
    }


def _title(name: str) -> str:
    for ending in _UNIT_ENDINGS:
        name = name.removesuffix(ending)
    return " ".join(word.capitalize() for word in name.replace("/", " ").replace("_", " ").split())


def _abbreviate(title: str) -> str:
    return " ".join(_ABBREVIATIONS.get(word, word) for word in title.split())


def _shorten(title: str) -> str:
    text = _abbreviate(title)
    return text if len(text) <= _SHORT else text.split()[-1]


def describe(parameter: Parameter) -> str:
    """Range, unit and default in a few words."""
    if parameter.kind == "choice":
        return ", ".join(parameter.choices)
    if parameter.kind == "bool":
        return "0 or 1"
    if parameter.kind == "float":
        text = f"{parameter.low:g} to {parameter.high:g} {parameter.unit}".rstrip()
        return f"{text}, default {parameter.default:g}"
    return {"": "", "text": "a name", "text?": "a name, or nothing", "switch": "0, 1 or a name"}[
        parameter.argument
    ]


def info_text(parameter: Parameter) -> str:
    """Description, range with unit, and address: for info views and hints."""
    sentence = parameter.description[:1].upper() + parameter.description[1:]
    limits = describe(parameter)
    return ". ".join(part for part in (sentence, limits, parameter.address) if part)
