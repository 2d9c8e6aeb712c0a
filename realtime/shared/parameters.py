"""The one table of parameters: command line, OSC, terminal, patches and README are made from it.

To add a parameter, add one line to `PARAMETERS`; nothing else needs to know its name except the code that
acts on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = [
    "FAMILIES",
    "Family",
    "MAX_DOMAINS",
    "MAX_LATENT",
    "PARAMETERS",
    "PREFIX",
    "Parameter",
    "STATUS",
    "Status",
    "VALUES",
    "by_name",
    "describe",
    "markdown_table",
    "with_domains",
]


PREFIX = "/umtn/"
MAX_DOMAINS = 128  # as many as a bundle may hold
MAX_LATENT = 1024  # latent channels that can be scaled and shifted one by one

# event: fires in the audio process. action: done by the control process, which may need a name for it
Kind = Literal["float", "bool", "choice", "event", "action"]
VALUES = ("float", "bool", "choice")  # the kinds that hold a value
Argument = Literal["", "text", "text?", "switch"]  # of an action; switch: 0, 1 or a name
Curve = Literal["linear", "square"]
_EXPONENT: dict[Curve, float] = {"linear": 1.0, "square": 2.0}


@dataclass(frozen=True)
class Parameter:
    """One control: its range in `unit`, how a 0..1 dial maps onto it, and how fast sound follows it."""

    name: str
    kind: Kind
    low: float
    high: float
    unit: str
    default: float
    curve: Curve
    smoothing_ms: float
    description: str
    cli: str | None
    choices: tuple[str, ...] = ()
    argument: Argument = ""
    per_domain: bool = False  # one for each domain of the bundle, see with_domains
    cell: str = ""  # its name in the shared memory, where that differs

    @property
    def stored(self) -> str:
        """Name of its cell in the shared memory."""
        return self.cell or self.name

    @property
    def attribute(self) -> str:
        """Its name among the signal path's controls, e.g. `input_gain_db`."""
        return self.name.replace("/", "_")

    @property
    def address(self) -> str:
        """OSC address, e.g. `/umtn/input/gain_db`."""
        return PREFIX + self.name

    def clip(self, value: float) -> float:
        """The nearest allowed value; bool and choice are rounded to a whole number."""
        inside = min(max(value, self.low), self.high)
        return float(math.floor(inside + 0.5)) if self.kind in ("bool", "choice") else float(inside)

    def normalize(self, value: float) -> float:
        """Value in `unit` -> 0..1 dial position."""
        if self.high <= self.low:
            return 0.0
        return float(((self.clip(value) - self.low) / (self.high - self.low)) ** (1 / _EXPONENT[self.curve]))

    def denormalize(self, position: float) -> float:
        """0..1 dial position -> value in `unit`."""
        dial = min(max(position, 0.0), 1.0)
        return self.clip(self.low + (self.high - self.low) * dial ** _EXPONENT[self.curve])


@dataclass(frozen=True)
class Family:
    """Numbered parameters, `/umtn/NAME/0` ...: too many for a page or a patch, so OSC alone reaches them."""

    name: str
    low: float
    high: float
    default: float
    count: int
    description: str

    @property
    def attribute(self) -> str:
        """Its name among the signal path's controls, e.g. `latent_scale`."""
        return self.name.replace("/", "_")

    @property
    def address(self) -> str:
        """OSC address without the number."""
        return PREFIX + self.name


@dataclass(frozen=True)
class Status:
    """One figure that audio reports; `string` ones come with the session's info, not as numbers."""

    name: str
    kind: Literal["float", "int", "choice", "string"]
    unit: str
    description: str

    @property
    def address(self) -> str:
        """OSC address, e.g. `/umtn/status/load`."""
        return f"{PREFIX}status/{self.name}"


# One line per entry, aligned: a table is read by its columns.
# fmt: off
# ruff: noqa: E501
PARAMETERS: tuple[Parameter, ...] = (
    #         name               kind      low    high          unit  default curve     smoothing_ms
    Parameter("to",             "choice",  0.0,   MAX_DOMAINS - 1, "", 0.0,   "linear", 0.0,  "domain that the input is translated to; the change is cross-faded", "--to"),
    Parameter("blend",          "float",   0.0,   1.0,          "",   0.0,    "linear", 20.0, "weight of one domain; while any is above 0 the weights decide and not `to`, which sets them to 0", None, per_domain=True),
    Parameter("mix",            "float",   0.0,   1.0,          "",   1.0,    "linear", 20.0, "0 = dry input (aligned with the output), 1 = translation only", "--mix"),
    Parameter("input/gain_db",  "float",  -60.0,  24.0,         "dB", 0.0,    "linear", 20.0, "gain before the model", "--input-gain"),
    Parameter("input/gate_db", "float",  -100.0, 0.0,          "dB", -100.0, "linear", 0.0,  "input below this level is silence (opens 6 dB higher); -100 = no gate", "--gate"),
    Parameter("output/gain_db", "float",  -60.0,  24.0,         "dB", 0.0,    "linear", 20.0, "gain after the mix, before the limiter", "--gain"),
    Parameter("bypass",         "bool",    0.0,   1.0,          "",   0.0,    "linear", 20.0, "1 = hear the input alone; the model keeps running", None),
    Parameter("mute",           "bool",    0.0,   1.0,          "",   0.0,    "linear", 20.0, "1 = silence at the output", None),
    Parameter("freeze",         "bool",    0.0,   1.0,          "",   0.0,    "linear", 0.0,  "1 = hold what is sounding: the latent stands still", None),
    Parameter("transpose",      "float",  -24.0,  24.0,  "semitones", 0.0,    "linear", 0.0,  "shift of the pitch before the decoder", "--transpose"),
    Parameter("temperature",    "float",   0.0,   2.0,          "",   1.0,    "linear", 0.0,  "randomness of autoregressive decoders, 1 = as the bundle sounds best; others ignore it", "--temperature"),
    Parameter("panic",          "event",   0.0,   1.0,          "",   0.0,    "linear", 0.0,  "silence at once and reset the model's state", None),
    Parameter("crossfade_ms",   "float",   0.0,   2000.0,       "ms", 60.0,   "square", 0.0,  "length of the cross-fade when the domain changes", "--crossfade"),
    Parameter("glide_ms",       "float",   0.0,  60000.0,       "ms", 0.0,    "square", 0.0,  "time that a recalled preset takes to arrive", "--glide"),
    Parameter("preset/save",    "action",  0.0,   1.0,          "",   0.0,    "linear", 0.0,  "keep all parameters under a name", None, argument="text"),
    Parameter("preset/load",    "action",  0.0,   1.0,          "",   0.0,    "linear", 0.0,  "recall the preset of that name (or number in the set list)", None, argument="text"),
    Parameter("preset/next",    "action",  0.0,   1.0,          "",   0.0,    "linear", 0.0,  "recall the next preset of the set list", None),
    Parameter("preset/previous", "action", 0.0,   1.0,          "",   0.0,    "linear", 0.0,  "recall the preset before", None),
    Parameter("preset/delete",  "action",  0.0,   1.0,          "",   0.0,    "linear", 0.0,  "put the preset of that name away; `preset/undo` brings it back", None, argument="text"),
    Parameter("preset/undo",    "action",  0.0,   1.0,          "",   0.0,    "linear", 0.0,  "bring back the preset that was saved over or deleted last; again: the one before that", None),
    Parameter("record",         "action",  0.0,   1.0,          "",   0.0,    "linear", 0.0,  "1 = record input and output, 0 = stop; a name is the file to record to", None, argument="switch"),
    Parameter("model/load",     "action",  0.0,   1.0,          "",   0.0,    "linear", 0.0,  "change to another bundle while playing: a file, or a shipped one's name", None, argument="text"),
)

STATUS: tuple[Status, ...] = (
    Status("latency_ms",   "float",  "ms", "input to output with the device: its buffers as its ports say or as measured, and all of the software"),
    Status("latency_software_ms", "float", "ms", "of it the software at this block: gathering it, resampler, the model's block and lag, blocks ahead"),
    Status("latency_model_ms", "float", "ms", "of it the model alone: the block of sound that it must hear first, and its own lag"),
    Status("load",         "float",  "",   "computing time / block time, smoothed; 1 = no time left"),
    Status("load_max",     "float",  "",   "highest load of the last seconds"),
    Status("xruns",        "int",    "",   "blocks that came too late, since the start"),
    Status("level_in_db",  "float",  "dB", "input level, dB of full scale"),
    Status("level_out_db", "float",  "dB", "output level, dB of full scale"),
    Status("domain",       "choice", "",   "domain that is sounding; in a blend the loudest"),
    Status("gate",         "int",    "",   "1 = the gate is open"),
    Status("blend_max",    "int",    "",   "decoders that this machine can run at once"),
    Status("recording",    "float",  "s",  "length of the running recording; 0 = none"),
    Status("recording_lost", "int",  "",   "samples that the disk was too slow for"),
    Status("bundle",       "string", "",   "bundle that is playing"),
    Status("preset",       "string", "",   "preset recalled last"),
    Status("engine",       "string", "",   "engine that computes the model"),
    Status("uptime",       "float",  "s",  "time since the audio started"),
    Status("resets",       "int",    "",   "times the model was reset, its output not being finite or sane"),
    Status("input_repairs", "int",   "",   "blocks whose input was not finite and was made so"),
    Status("underruns",    "int",    "",   "pieces of output that the model's sound did not reach in time, which the buffering rules out"),
    Status("callback_p999_us", "float", "us", "time in the device's callback that 999 of 1000 blocks stay below"),
    Status("block",        "int",    "",   "samples in one block at the device's rate"),
    Status("rate",         "float",  "Hz", "sample rate of the device"),
)

FAMILIES: tuple[Family, ...] = (
    Family("latent/scale", 0.0, 4.0, 1.0, MAX_LATENT, "factor on one latent channel"),
    Family("latent/bias", -8.0, 8.0, 0.0, MAX_LATENT, "added to one latent channel, after its factor"),
)
# fmt: on


def by_name(name: str) -> Parameter:
    """The parameter called `name`; KeyError if there is none."""
    for parameter in PARAMETERS:
        if parameter.name == name:
            return parameter
    raise KeyError(name)


def with_domains(domains: tuple[str, ...]) -> tuple[Parameter, ...]:
    """The table for one bundle: `to` gets its choices and its true upper end, `blend` one entry a domain."""
    table: list[Parameter] = []
    for p in PARAMETERS:
        if p.name == "to":
            table.append(replace(p, high=float(max(len(domains) - 1, 0)), choices=domains))
        elif p.per_domain:
            table += [
                replace(p, name=f"{p.name}/{domain}", cell=f"{p.name}/{i}", per_domain=False)
                for i, domain in enumerate(domains)
            ]
        else:
            table.append(p)
    return tuple(table)


def _number(value: float) -> str:
    return f"{value:g}"


def _range(parameter: Parameter) -> str:
    if parameter.kind == "choice":
        return "domain id or index"
    if parameter.kind == "event" or (parameter.kind == "action" and not parameter.argument):
        return "any"
    if parameter.kind == "action":
        return "0, 1 or a name" if parameter.argument == "switch" else "a name"
    if parameter.kind == "bool":
        return "0 or 1"
    return f"{_number(parameter.low)} … {_number(parameter.high)} {parameter.unit}".rstrip()


def markdown_table() -> str:
    """The README's tables: every parameter, then every status, with OSC address and command-line option."""
    rows = ["| OSC address | range | default | option | what it does |", "|---|---|---|---|---|"]
    for p in PARAMETERS:
        default = (
            "" if p.kind in ("event", "action") else "first" if p.kind == "choice" else _number(p.default)
        )
        option = f"`{p.cli}`" if p.cli else ""
        address = f"{p.address}/DOMAIN" if p.per_domain else p.address
        rows.append(f"| `{address}` | {_range(p)} | {default} | {option} | {p.description} |")
    rows += [
        f"| `{f.address}/N` | {f.low:g} … {f.high:g} | {f.default:g} | | {f.description}, from 0 |"
        for f in FAMILIES
    ]
    rows += ["", "| OSC address | unit | what it says |", "|---|---|---|"]
    rows += [f"| `{s.address}` | {s.unit} | {s.description} |" for s in STATUS]
    return "\n".join(rows) + "\n"


# One parameter of the table as plain data, for pages and patches that draw their controls from it.


def describe(p: Parameter, available: bool = True) -> dict[str, Any]:
    """JSON-ready; available: False for an action that this session cannot do."""
    return {
        "name": p.name,
        "kind": p.kind,
        "low": p.low,
        "high": p.high,
        "unit": p.unit,
        "default": p.default,
        "curve": p.curve,
        "description": p.description,
        "choices": list(p.choices),
        "argument": p.argument,
        "available": available,
    }
