"""Devices by name and number, over a fake of the outermost boundary (the sounddevice module)."""

from __future__ import annotations

import builtins
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.audio import devices
from realtime.audio.devices import check_format, list_devices, resolve
from umtn.errors import UserError


class PortAudioError(Exception):
    pass


class FakeSoundDevice:
    """Two microphones, a speaker and an interface with both."""

    PortAudioError = PortAudioError
    rows = [("USB Mic One", 1, 0), ("USB Mic Two", 2, 0), ("Speakers", 0, 2), ("Scarlett", 4, 4)]

    def __init__(
        self, default: tuple[int, int] = (1, 2), rows: list[tuple[str, int, int]] | None = None
    ) -> None:
        self.default = SimpleNamespace(device=default)
        if rows is not None:
            self.rows = rows

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "ALSA"}]

    def query_devices(self) -> list[dict[str, Any]]:
        return [
            {
                "name": n,
                "hostapi": 0,
                "max_input_channels": i,
                "max_output_channels": o,
                "default_samplerate": 48000.0,
            }
            for n, i, o in self.rows
        ]

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate != 48000:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    check_output_settings = check_input_settings


SD = FakeSoundDevice()


@pytest.mark.parametrize(
    ("spec", "kind", "index"),
    [("mic", "input", 1), ("default", "output", 2), ("0", "input", 0), ("3", "output", 3),
     ("scar", "input", 3),     ("SPEAKERS", "output", 2), ("usb mic one", "input", 0)],
)  # fmt: skip
def test_a_device_is_found(spec: str, kind: str, index: int) -> None:
    assert resolve(spec, kind, SD).index == index


def test_an_exact_name_wins_over_a_part() -> None:
    sd = FakeSoundDevice(rows=[("Mic", 1, 0), ("Mic Pro", 1, 0)])
    assert resolve("mic pro", "input", sd).index == 1
    assert resolve("Mic, ALSA", "input", sd).index == 0


def test_without_a_default_the_first_is_taken() -> None:
    assert resolve("mic", "input", FakeSoundDevice(default=(-1, -1))).index == 0


@pytest.mark.parametrize(
    ("spec", "kind", "says"),
    [
        (
            "usb",
            "input",
            r"2 audio input devices match 'usb'; give a number: \[0\] USB Mic One, ALSA; \[1\] USB",
        ),
        ("piano", "input", r"no audio input device is called 'piano'.*\[0\] USB Mic One.*\[3\] Scarlett"),
        ("9", "input", r"no audio input device number 9; there are: \[0\]"),
        ("0", "output", r"no audio output device number 0; there are: \[2\] Speakers, ALSA; \[3\]"),
    ],
)
def test_what_cannot_be_found_is_said_with_what_there_is(spec: str, kind: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        resolve(spec, kind, SD)


def test_no_device_at_all_suggests_a_way_out() -> None:
    nothing = FakeSoundDevice(rows=[])
    with pytest.raises(UserError, match=r"no audio input device; play the built-in clip with --in demo"):
        resolve("mic", "input", nothing)
    with pytest.raises(UserError, match=r"no audio output device; use --out FILE\.wav or --out none"):
        resolve("default", "output", nothing)


def test_channel_and_rate_that_the_device_lacks() -> None:
    device = resolve("usb mic two", "input", SD)
    check_format(device, "input", 2, 48000, SD)
    with pytest.raises(UserError, match=r"channel 3 was asked for, but USB Mic Two, ALSA has 2 input"):
        check_format(device, "input", 3, 48000, SD)
    with pytest.raises(UserError, match=r"does not run at 44100 Hz.*Invalid sample rate.*try --rate 48000"):
        check_format(device, "input", 1, 44100, SD)


def test_the_list_has_a_line_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "portaudio", lambda: SD)
    lines = list_devices().splitlines()
    assert len(lines) == 5
    assert lines[4].split() == ["3", "4", "4", "48000", "Scarlett", "(ALSA)"]


def test_a_missing_portaudio_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(UserError, match="not installed; install it with: sudo apt-get install libportaudio2"):
        devices.portaudio()
    assert devices.available() == (False, False)
