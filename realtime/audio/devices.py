"""Finding a sound device by what a person calls it, and saying what there is when it cannot be found."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from umtn.errors import UserError

__all__ = ["Device", "available", "check_format", "list_devices", "portaudio", "resolve"]

DEFAULT_NAMES = {"input": ("mic", "default"), "output": ("default",)}
_INSTALL = {
    "linux": "sudo apt-get install libportaudio2 (or your distribution's portaudio package)",
    "darwin": "pip install --force-reinstall sounddevice",
    "win32": "pip install --force-reinstall sounddevice",
}


@dataclass(frozen=True)
class Device:
    """A resolved device: PortAudio's index, name with host API, and what it offers in one direction."""

    index: int
    name: str
    channels: int
    rate_hz: int


def portaudio() -> Any:
    """The sounddevice module, or one sentence on how to get the PortAudio library."""
    try:
        import sounddevice
    except OSError:
        command = _INSTALL.get(sys.platform, _INSTALL["linux"])
        raise UserError(f"the PortAudio library is not installed; install it with: {command}") from None
    except ImportError:
        from umtn.missing import sentence

        raise UserError(sentence("sounddevice")) from None
    return sounddevice


def _all(sd: Any, kind: str) -> list[Device]:
    """Every device that has channels in that direction."""
    apis = sd.query_hostapis()
    return [
        Device(
            i,
            f"{d['name']}, {apis[d['hostapi']]['name']}",
            int(d[f"max_{kind}_channels"]),
            round(d["default_samplerate"]),
        )
        for i, d in enumerate(sd.query_devices())
        if d[f"max_{kind}_channels"] > 0
    ]


def available() -> tuple[bool, bool]:
    """Whether there is any input and any output device; (False, False) also where PortAudio is missing."""
    try:
        sd = portaudio()
        return bool(_all(sd, "input")), bool(_all(sd, "output"))
    except Exception:  # PortAudio's own start-up errors: nothing to play on, whatever the reason
        return False, False


def list_devices() -> str:
    """A table for people: number, name, host API, channels in and out, rate."""
    sd = portaudio()
    apis = sd.query_hostapis()
    lines = ["  no  in out   rate  device"]
    for i, d in enumerate(sd.query_devices()):
        api = apis[d["hostapi"]]["name"]
        channels = f"{d['max_input_channels']:3d} {d['max_output_channels']:3d}"
        lines.append(f"{i:4d}  {channels} {d['default_samplerate']:6.0f}  {d['name']} ({api})")
    if len(lines) == 1:
        return "no sound device found; --in demo or --in FILE with --out FILE.wav needs none"
    return "\n".join(lines)


def resolve(spec: str, kind: str, sd: Any = None) -> Device:
    """`spec`: "mic" or "default", a number, or part of a name (any case); kind: "input" or "output".

    UserError: none there, unknown (lists them), ambiguous (numbered candidates), wrong direction.
    """
    sd = sd or portaudio()
    devices = _all(sd, kind)
    if not devices:
        escape = (
            "play the built-in clip with --in demo" if kind == "input" else "use --out FILE.wav or --out none"
        )
        raise UserError(f"this machine has no audio {kind} device; {escape}")
    if spec.lower() in DEFAULT_NAMES[kind]:
        return _default(sd, kind, devices)
    if spec.isdigit():
        return _by_number(int(spec), kind, devices)
    wanted = spec.lower()
    exact = [d for d in devices if d.name.lower() == wanted or d.name.lower().rsplit(", ", 1)[0] == wanted]
    found = exact or [d for d in devices if wanted in d.name.lower()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{len(found)} audio {kind} devices match {spec!r}; give a number: {_numbered(found)}"
        )
    raise UserError(
        f"no audio {kind} device is called {spec!r}, nor is that a file; there are: {_numbered(devices)}"
    )


def _numbered(devices: list[Device]) -> str:
    return "; ".join(f"[{d.index}] {d.name}" for d in devices)


def _default(sd: Any, kind: str, devices: list[Device]) -> Device:
    index = sd.default.device[0 if kind == "input" else 1]
    return next((d for d in devices if d.index == index), devices[0])


def _by_number(number: int, kind: str, devices: list[Device]) -> Device:
    for device in devices:
        if device.index == number:
            return device
    raise UserError(f"there is no audio {kind} device number {number}; there are: {_numbered(devices)}")


def check_format(device: Device, kind: str, channels: int, rate_hz: int, sd: Any = None) -> None:
    """Refuse a channel or a rate that the device does not have, saying what it offers."""
    sd = sd or portaudio()
    if channels > device.channels:
        raise UserError(
            f"channel {channels} was asked for, but {device.name} has {device.channels} {kind} channel(s)"
        )
    check = sd.check_input_settings if kind == "input" else sd.check_output_settings
    try:
        check(device=device.index, channels=channels, dtype="float32", samplerate=rate_hz)
    except sd.PortAudioError as error:
        raise UserError(
            f"{device.name} does not run at {rate_hz} Hz with {channels} {kind} channel(s) "
            f"({str(error).split(':')[0].rstrip('.')}); it offers {device.channels} channel(s) and "
            f"its own rate is {device.rate_hz} Hz: try --rate {device.rate_hz}"
        ) from None
