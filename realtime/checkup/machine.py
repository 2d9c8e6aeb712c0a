"""The computer: packages, real-time rights, load, disk, MIDI; power.py has the processor's clock and battery."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from realtime.checkup.finding import Finding, ok, stop, warn
from realtime.checkup.power import power
from realtime.checkup.shell import run

__all__ = [
    "judge_disk",
    "judge_load",
    "judge_midi",
    "judge_packages",
    "judge_rights",
    "machine",
]

NEEDED = {  # what is imported: the distributions that may bring it
    "numpy": ("numpy",),
    "sounddevice": ("sounddevice",),
    "soundfile": ("soundfile",),
    "pythonosc": ("python-osc",),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
}
USEFUL = {
    "aiohttp": (("aiohttp",), "the web page and OSCQuery"),
    "zeroconf": (("zeroconf",), "being found on the network"),
    "mido": (("mido",), "MIDI"),
    "rtmidi": (("python-rtmidi",), "MIDI"),
}
BUSY = 0.7  # load average for each processor
BYTES_PER_SAMPLE = 2 * 4  # input and output side by side, 32 bits
HOUR_S = 3600.0
_RIGHTS = """
import json
from realtime.audio.rights import flush_denormals, request_realtime
granted, advice = request_realtime()
print(json.dumps([granted + (["denormals off"] if flush_denormals() else []), advice]))
"""
_MIDI = "import json, mido; print(json.dumps([mido.get_input_names(), mido.get_output_names()]))"


def machine(rate_hz: int, folder: Path) -> list[Finding]:
    """All of it on this machine."""
    return [
        judge_packages(
            sys.version_info[:3], _versions(NEEDED), _versions({k: v[0] for k, v in USEFUL.items()})
        ),
        _rights(),
        *power(),
        *_load(),
        _disk(folder, rate_hz),
        _midi(),
    ]


def _versions(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Version of each module; "" where it is missing."""
    return {module: _version(module, names) for module, names in table.items()}


def _version(module: str, names: tuple[str, ...]) -> str:
    if importlib.util.find_spec(module) is None:
        return ""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "?"


def judge_packages(python: tuple[int, ...], needed: Mapping[str, str], useful: Mapping[str, str]) -> Finding:
    """needed, useful: module -> version, "" where it is missing."""
    has = ", ".join(f"{name} {version}" for name, version in {**needed, **useful}.items() if version)
    text = f"Python {'.'.join(map(str, python))}, {has}"
    if python < (3, 11):
        return stop("packages", text, "Python 3.11 or newer is needed: make play sets up an environment")
    missing = [name for name, version in needed.items() if not version]
    if missing:
        return stop("packages", f"{', '.join(missing)} missing; {text}", "pip install -e .  (or: make play)")
    lacks = [name for name, version in useful.items() if not version]
    if lacks:
        what = ", ".join(dict.fromkeys(USEFUL[name][1] for name in lacks))
        packages = " ".join(USEFUL[name][0][0] for name in lacks)
        return warn("packages", f"{text}; not there: {what}", f"pip install {packages}")
    return ok("packages", text)


def _rights() -> Finding:
    """Asked for in a process of its own: this one keeps what it has."""
    answer = run([sys.executable, "-c", _RIGHTS])
    if answer is None:
        return warn("rights", "real-time rights could not be asked for", "see the start line of realtime.run")
    granted, advice = json.loads(answer)
    return judge_rights(granted, advice)


def judge_rights(granted: list[str], advice: list[str]) -> Finding:
    """What rights.py was given, and its own advice for the rest."""
    has = f"granted: {', '.join(granted)}" if granted else "no real-time rights"
    if advice:
        return warn("rights", f"{has}; a loaded machine will drop blocks", "; ".join(advice))
    return ok("rights", has)


def _load() -> list[Finding]:
    if not hasattr(os, "getloadavg"):
        return []
    return [judge_load(os.getloadavg()[0], os.cpu_count() or 1)]


def judge_load(load: float, processors: int) -> Finding:
    """load: average number of running programs in the last minute."""
    text = f"{processors} processor(s), {load:.1f} programs running on average in the last minute"
    if load > BUSY * processors:
        return warn("load", text, "close what is not needed (top shows what runs)")
    return ok("load", text)


def _disk(folder: Path, rate_hz: int) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return warn("disk", f"{folder} cannot be looked at ({error.strerror})", "record to another folder")
    return judge_disk(free, rate_hz, os.access(folder, os.W_OK), str(folder))


def judge_disk(free_bytes: int, rate_hz: int, writable: bool, folder: str) -> Finding:
    """Room for a recording of input and output."""
    hours = free_bytes / (BYTES_PER_SAMPLE * rate_hz * HOUR_S)
    text = f"room for {hours:.1f} hours of recording in {folder}"
    if not writable:
        return warn(
            "disk", f"nothing can be written in {folder}", "start the program in a folder of your own"
        )
    if hours < 1:
        return warn("disk", text, "make room, or record to another disk")
    return ok("disk", text if hours < 100 else f"room for more than 100 hours of recording in {folder}")


def _midi() -> Finding:
    """In a process of its own: MIDI libraries print, and some wait for a server."""
    if not (importlib.util.find_spec("mido") and importlib.util.find_spec("rtmidi")):
        return judge_midi(None, None)
    answer = run([sys.executable, "-c", _MIDI])
    return judge_midi(*json.loads(answer)) if answer else judge_midi([], [])


def judge_midi(inputs: list[str] | None, outputs: list[str] | None) -> Finding:
    """Names of the ports; None where the packages are missing. MIDI is an extra: nothing stops without it."""
    if inputs is None:
        return ok("MIDI", 'not set up; for --midi: pip install -e ".[midi]"')
    if not inputs:
        return ok("MIDI", "no MIDI port; plug the controller in before the start if one is wanted")
    return ok("MIDI", f"in: {', '.join(inputs)}; out: {', '.join(outputs or []) or 'none'}")
