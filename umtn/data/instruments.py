"""The instruments that scores are rendered with: a frozen table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from umtn.errors import UserError, advice, words

__all__ = ["DOMAINS", "INSTRUMENTS", "Instrument", "Role", "instruments_named", "training_instruments"]

Role = Literal["domain", "source", "evaluation"]


@dataclass(frozen=True)
class Instrument:
    """A section of General MIDI programs (counted from 0) split by pitch; synthetic voices have none."""

    id: str
    role: Role
    section: tuple[tuple[int, int, int], ...]  # (lowest pitch, highest pitch, program)
    detune_cents: float = 0.0
    highest: int = 127  # above it at least one of our fonts is mute (measured note by note, 33..98)

    @property
    def synthetic(self) -> bool:
        """Whether our own numpy synthesiser plays it, not a sound font."""
        return not self.section

    def channel_of(self, pitch: int) -> int:
        """Index into `section` of the program that plays a pitch."""
        for index, (low, high, _) in enumerate(self.section):
            if low <= pitch <= high:
                return index
        raise UserError(f"instrument '{self.id}' has no program for MIDI pitch {pitch} (0..127 wanted)")


_HIGHEST = {
    "strings": 96, "organ": 96, "voice": 96, "violin": 93, "oboe": 96, "english_horn": 85, "recorder": 96,
    "bass_guitar": 84, "horn": 96, "brass": 96, "harp": 82, "oohs": 96, "jazz_guitar": 96, "picked_bass": 84,
    "viola": 96, "tremolo": 97, "pizzicato": 96, "trombone": 96, "muted_trumpet": 96, "bassoon": 84,
}  # fmt: skip


def _solo(name: str, role: Role, program: int) -> Instrument:
    return Instrument(name, role, ((0, 127, program),), highest=_HIGHEST.get(name, 127))


DOMAINS = (
    _solo("strings", "domain", 48),
    _solo("piano", "domain", 0),
    Instrument("winds", "domain", ((0, 51, 70), (52, 75, 71), (76, 127, 73))),  # bassoon, clarinet, flute
    _solo("organ", "domain", 19),
    _solo("voice", "domain", 52),
    _solo("brass", "domain", 61),
    # the nylon guitar alone: the harp, which could take the high notes, is mute above pitch 82 in one font
    _solo("plucked", "domain", 24),
    # the vibraphone: half a second into a held note it is 2 to 8 dB down (pitches 33 to 75), the marimba 5 to 33
    _solo("mallets", "domain", 11),
)
_SYNTHETIC = tuple(Instrument(name, "source", ()) for name in ("sine", "analog", "whistling", "singing"))
# No glockenspiel and no music box: low notes' loudest partials lie two to four octaves above the written ones. No
# program that is out of tune in one of our fonts (slow strings), and no relative of what evaluation hears (saxophones,
# free reeds, shamisen and sitar, ocarina).
_SOURCES = tuple(
    _solo(name, "source", program)
    for name, program in {
        "violin": 40,
        "cello": 42,
        "flute": 73,
        "clarinet": 71,
        "oboe": 68,
        "english_horn": 69,
        "recorder": 74,
        "electric_piano": 4,
        "harpsichord": 6,
        "steel_guitar": 25,
        "electric_guitar": 27,
        "bass_guitar": 33,
        "trumpet": 56,
        "horn": 60,
        "marimba": 12,
        "xylophone": 13,
        "harp": 46,
        "oohs": 53,
        "bright_piano": 1,
        "electric_piano_2": 5,
        "clavinet": 7,
        "celesta": 8,
        "dulcimer": 15,
        "jazz_guitar": 26,
        "upright_bass": 32,
        "picked_bass": 34,
        "viola": 41,
        "tremolo": 44,
        "pizzicato": 45,
        "synth_strings": 50,
        "synth_voice": 54,
        "trombone": 57,
        "muted_trumpet": 59,
        "synth_brass": 62,
        "bassoon": 70,
        "piccolo": 72,
        "pan_flute": 75,
        "calliope": 82,
        "square_lead": 80,
        "saw_lead": 81,
    }.items()
)
_EVALUATION = (
    *(
        _solo(name, "evaluation", program)
        for name, program in {
            "accordion": 21,
            "alto_sax": 65,
            "koto": 107,
            "whistle": 78,
        }.items()
    ),
    Instrument("detuned_guitar", "evaluation", ((0, 127, 25),), detune_cents=-35.0),
)

INSTRUMENTS: dict[str, Instrument] = {i.id: i for i in (*DOMAINS, *_SYNTHETIC, *_SOURCES, *_EVALUATION)}


def training_instruments() -> list[Instrument]:
    """Every instrument that training may hear, domains first; none of those kept for evaluation."""
    return [i for i in INSTRUMENTS.values() if i.role != "evaluation"]


def instruments_named(names: str) -> list[Instrument]:
    """Instruments of a comma-separated list; `domains` and `training` stand for those groups."""
    chosen: dict[str, Instrument] = {}
    known = ("domains", "training", *INSTRUMENTS)
    for name in words(names):
        if name in ("domains", "training"):
            group = DOMAINS if name == "domains" else training_instruments()
            chosen.update((i.id, i) for i in group)
        elif name in INSTRUMENTS:
            chosen[name] = INSTRUMENTS[name]
        else:
            raise UserError(f"unknown instrument '{name}'; {advice(name, known)}")
    if not chosen:
        raise UserError(f"no instrument named in '{names}'; known are {', '.join(known)}")
    return list(chosen.values())
