"""Sound devices, what lies between them and the program, and the latency to expect."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime.audio.devices import Device, check_format, portaudio, resolve
from realtime.audio.latencies import Latencies, server_block
from realtime.audio.stream import is_jack
from realtime.doctor.finding import Finding, ok, stop, warn
from realtime.shared.latency_store import stored_loop_ms
from umtn.errors import UserError

__all__ = ["Sound", "judge_latency", "judge_rates", "judge_server", "sound"]

JACK = "JACK Audio Connection Kit"
MAX_OUT_CHANNELS = 8
LATE_MS = 30.0  # players begin to feel it
_START = {
    "linux": "plug an interface in; is your user in the group audio? jackd -d alsa, or PipeWire with pw-jack",
    "darwin": "plug an interface in; System Settings > Privacy & Security > Microphone must allow the terminal",
    "win32": "plug an interface in; Settings > Privacy > Microphone must allow desktop apps",
}


@dataclass(frozen=True)
class Sound:
    """What was found: the findings, and the devices and the rate that a run would use (None, 48000: no device)."""

    findings: list[Finding]
    input: Device | None
    output: Device | None
    rate_hz: int
    said_ms: float | None  # both ways together, by the system's word
    block: int | None = None  # a sound server's own, whatever is asked for


def sound(input_spec: str, output_spec: str, rate: int | None, channel: int = 1) -> Sound:
    """As the program would open it, without opening it."""
    try:
        sd = portaudio()
    except UserError as error:
        return Sound(
            [stop("devices", str(error), "then start the doctor again")], None, None, rate or 48000, None
        )
    except Exception as error:  # PortAudio's own start-up
        mend = "is a sound server running? " + _START.get(sys.platform, "")
        return Sound(
            [stop("devices", f"PortAudio does not start ({error})", mend)], None, None, rate or 48000, None
        )
    findings: list[Finding] = []
    device_in = _find(lambda: resolve(input_spec, "input", sd), findings)
    device_out = _find(lambda: resolve(output_spec, "output", sd), findings)
    rate_hz = rate or (device_out or device_in or Device(0, "", 0, 48000)).rate_hz
    for device, kind in ((device_in, "input"), (device_out, "output")):
        if device is not None:
            channels = channel if kind == "input" else min(device.channels, MAX_OUT_CHANNELS)
            findings.append(_format(device, kind, channels, rate_hz, sd))
    if device_in and device_out:
        findings += judge_rates(device_in, device_out, rate_hz)
    findings.append(_server(sd, device_out or device_in))
    block = server_block() if is_jack(device_out or device_in) else None
    return Sound(findings, device_in, device_out, rate_hz, _said_ms(sd, device_in, device_out), block)


def _find(look: Callable[[], Device], findings: list[Finding]) -> Device | None:
    try:
        return look()
    except UserError as error:
        findings.append(stop("devices", str(error), _START.get(sys.platform, _START["linux"])))
        return None


def _format(device: Device, kind: str, channels: int, rate_hz: int, sd: Any) -> Finding:
    text = f"{kind}: {device.name}, {device.channels} channel(s), its own rate {device.rate_hz} Hz"
    try:
        check_format(device, kind, channels, rate_hz, sd)
    except UserError as error:
        return stop(
            "devices", str(error), f"--rate {device.rate_hz}, or another device (realtime.run --list)"
        )
    return ok("devices", text)


def judge_rates(device_in: Device, device_out: Device, rate_hz: int) -> list[Finding]:
    """Two devices are two clocks; a rate that is not the device's own is resampled by someone else."""
    findings = []
    same = device_in.name == device_out.name
    if not same and not device_in.name.endswith(f", {JACK}"):
        findings.append(
            warn(
                "devices",
                "input and output are two devices with two clocks, which drift apart (a click now and then)",
                "use one interface for both, or an aggregate device with drift correction (docs/routing.md)",
            )
        )
    for device in (device_in,) if same else (device_in, device_out):
        if device.rate_hz != rate_hz:
            text = f"{device.name} runs at {device.rate_hz} Hz by itself, the program at {rate_hz} Hz"
            findings.append(
                warn("devices", text, f"--rate {device.rate_hz}, or set the device to {rate_hz} Hz")
            )
    return findings


def _server(sd: Any, device: Device | None) -> Finding:
    apis = [api["name"] for api in sd.query_hostapis() if api["devices"]]
    used = device.name.rsplit(", ", 1)[-1] if device else ""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    pipewire = bool(runtime) and (Path(runtime) / "pipewire-0").exists()
    return judge_server(sys.platform, apis, used, pipewire)


def judge_server(platform: str, apis: Sequence[str], used: str, pipewire: bool) -> Finding:
    """apis: PortAudio's host APIs that have devices; used: the chosen device's; pipewire: its socket exists."""
    others = ", ".join(a for a in apis if a != used)
    seen = f"{used} is used" if used else "PortAudio sees no sound server"
    seen += f"; also there: {others}" if others else ""
    if platform == "linux":
        if used == JACK:
            return ok("server", seen)
        if pipewire:
            mend = "pw-jack python -m realtime.run …  (Debian: sudo apt-get install pipewire-jack)"
            return warn(
                "server", f"{seen}; PipeWire runs, but the program does not speak to it as JACK", mend
            )
        mend = "start JACK: jackd -R -d alsa -d hw:0 -r 48000 -p 128 -n 2, then name it with --in/--out"
        return warn("server", f"{seen}; without JACK or PipeWire blocks are less even", mend)
    if platform == "win32":
        if used in ("Windows WASAPI", "ASIO", "Windows WDM-KS"):
            return ok("server", seen)
        mend = 'choose the device with "WASAPI" or "ASIO" in its name by its number (realtime.run --list); for ASIO '
        return warn(
            "server", f"{seen}, which buffers for 100 ms and more", mend + "set SD_ENABLE_ASIO=1 first"
        )
    return ok("server", seen)


def _said_ms(sd: Any, device_in: Device | None, device_out: Device | None) -> float | None:
    if device_in is None or device_out is None:
        return None
    low_in = float(sd.query_devices(device_in.index)["default_low_input_latency"])
    low_out = float(sd.query_devices(device_out.index)["default_low_output_latency"])
    return 1000.0 * (low_in + low_out)


def _alone(three: Latencies) -> str:
    return (
        f"{three.software:.1f} ms the software with its block and slack, {three.model:.1f} ms the model with the "
        "block it must hear"
    )


def judge_latency(
    found: Sound,
    block: int,
    slack: int,
    own_ms: float,
    model_ms: float = 0.0,
    measure: str = "python -m realtime.latency",
) -> Finding:
    """own_ms: resampler, model and its block; model_ms: the model alone; the loop as measured, or else by the
    system's word."""
    block_ms = 1000.0 * block / found.rate_hz
    slack_ms = slack * block_ms
    if found.input is None or found.output is None:
        alone = Latencies(model_ms, own_ms, slack_ms, block_ms, 0.0)
        return ok("latency", f"{_alone(alone)}; the devices' would come on top")
    loop = stored_loop_ms(found.input.name, found.output.name, found.rate_hz, block)
    loop_ms = loop if loop is not None else (found.said_ms or 0.0)
    how = "measured" if loop is not None else "by the system's word, which may be wrong"
    three = Latencies(model_ms, own_ms, slack_ms, block_ms, loop_ms)
    total = three.device
    text = (
        f"{total:.1f} ms at block {block}: devices {loop_ms:.1f} ({how}), slack {slack_ms:.1f}, "
        f"resampler and model {own_ms:.1f}; of it {_alone(three)}"
    )
    if total > LATE_MS:
        smaller = f"--block {max(32, block // 2)}" if block > 32 else "another interface"
        less = f", --slack {slack - 1} if the machine is fast" if slack else ""
        return warn("latency", text, f"{smaller}{less}, a sound server with less buffers")
    if loop is None:
        return Finding("latency", "ok", text, f"{measure}  measures it with a cable")
    return ok("latency", text)
