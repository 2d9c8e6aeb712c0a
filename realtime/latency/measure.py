"""`python -m realtime.latency`: how long sound takes from the program's output back to its input.

Put a cable from an output of the interface into an input, then run it: a noise is played round and round and
found again in what comes back, to a fraction of a sample. What the system says of its own latency is shown
beside it. The figure is stored for these devices, this rate and this block, and the program uses it from then on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from realtime.audio.devices import Device, check_format, portaudio, resolve
from realtime.audio.jack_ports import JackPorts
from realtime.audio.stream import is_jack, said_ms
from realtime.latency.sequence import Loop, judge, listen, maximum_length_sequence, order_for
from realtime.options import SentenceParser, add_sound, exit_code
from realtime.shared.audio_config import find_bundle
from realtime.shared.latency_store import remember_loop
from umtn.errors import UserError

__all__ = ["Player", "main", "measure", "play", "program_ms", "stream_settings"]


# Plays a sequence round and round through one duplex stream and keeps what comes back.
#
# Threading model: PortAudio's thread copies; the main thread sleeps until all has been heard.


ROUNDS = 3  # heard; one more is played before, while the loop fills
FADE_S = 0.05
WAIT_S = 3.0


class Player:
    """Plays the sequence round and round, keeps what comes in; `callback` is PortAudio's."""

    def __init__(self, sequence: np.ndarray, rate_hz: int) -> None:
        self._sequence, self._at = sequence, 0
        self.heard = np.zeros((ROUNDS + 1) * len(sequence), np.float32)
        self._fade = int(FADE_S * rate_hz)
        self.channel = 0
        self.block = self.lost = 0
        self.said_ms = 0.0

    @property
    def finished(self) -> bool:
        return self._at >= len(self.heard)

    def callback(self, indata: np.ndarray, outdata: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        outdata[:] = 0.0
        at, count = self._at, min(frames, len(self.heard) - self._at)
        if count <= 0:
            return
        self.block = max(self.block, frames)
        if status and at > len(self._sequence) // 2:  # a sound server flags its own rewiring at the start
            self.lost += 1
        self.heard[at : at + count] = indata[:count, self.channel]
        outdata[:count] = self._sequence[np.arange(at, at + count) % len(self._sequence), None]
        if at < self._fade:
            outdata[:count] *= np.minimum(np.arange(at, at + count) / self._fade, 1.0)[:, None]
        self._at += count


def stream_settings(rate_hz: int, block: int, device: Device) -> dict[str, Any]:
    """As audio/stream.py opens it: the same buffers, or another delay would be measured."""
    return {
        "samplerate": rate_hz,
        "blocksize": 0 if is_jack(device) else block,
        "dtype": "float32",
        "latency": "low",
        "clip_off": True,
        "dither_off": True,
    }


def play(
    sd: Any,
    player: Player,
    device_in: Device,
    device_out: Device,
    rate_hz: int,
    block: int,
    channel: int,
    out_channels: int,
) -> None:
    player.channel = channel - 1
    try:
        stream = sd.Stream(
            device=(device_in.index, device_out.index),
            channels=(channel, out_channels),
            callback=player.callback,
            **stream_settings(rate_hz, block, device_out),
        )
    except sd.PortAudioError as error:
        raise UserError(
            f"{device_in.name} and {device_out.name} cannot be opened together at {rate_hz} Hz, block {block} "
            f"({str(error).split(':')[0]}); is another program using them?"
        ) from None
    length_s = len(player.heard) / rate_hz
    with stream:
        deadline = time.monotonic() + length_s + WAIT_S
        while not player.finished and stream.active and time.monotonic() < deadline:
            time.sleep(0.02)
        jack = is_jack(device_out)
        ports = JackPorts.open(sd._libname) if jack else None
        frames = ports.round_trip(channel - 1) if ports else None
        if ports is not None:
            ports.close()
        told_s = None if frames is None else frames / rate_hz
        player.said_ms = said_ms(stream.latency, (player.block or block) / rate_hz, jack, told_s)
    if not player.finished:
        raise UserError(
            "the sound device stopped, or never started, while measuring; is the sound server still running?"
        )


OPENINGS = 2  # some drivers start with another delay each time
TRIES = 3  # of an opening, where the machine loses blocks
LEVEL_DB = -20.0
MAX_OUT_CHANNELS = 8  # as the program: beyond this a device is a mixer or a sound server
MOVED_MS = 0.5  # between two openings


def main(arguments: Sequence[str] | None = None) -> int:
    """0 measured and stored, 2 for bad input or a loop that cannot be measured (one sentence)."""
    return exit_code(lambda: _report(_parse(arguments)))


def _report(options: argparse.Namespace) -> int:
    figures = measure(
        options.input,
        options.output,
        options.block,
        options.rate,
        options.channel,
        options.level,
        options.store,
    )
    figures["program"] = program_ms(options.bundle, options.slack, figures)
    print(json.dumps(figures, indent=1) if options.json else "\n".join(_lines(figures)))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = SentenceParser(
        prog="python -m realtime.latency",
        description="Measure the loop of the sound interface with a cable from output to input.",
        epilog="Turn loudspeakers off first: a noise is played for some seconds.",
        allow_abbrev=False,
    )
    add_sound(parser)
    add = parser.add_argument
    add("--channel", type=int, default=1, metavar="N", help="input channel, from 1")
    add("--level", type=float, default=LEVEL_DB, metavar="DB", help="of the noise (default: -20 dB)")
    add("--no-store", dest="store", action="store_false", help="only print it")
    add("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args(arguments)
    if options.channel < 1:
        raise UserError(f"--channel counts from 1, but {options.channel} came")
    if not -60.0 <= options.level <= -3.0:
        raise UserError(f"--level takes -60 to -3 dB, but {options.level:g} came")
    return options


def measure(
    input_spec: str = "mic",
    output_spec: str = "default",
    block: int = 128,
    rate: int | None = None,
    channel: int = 1,
    level_db: float = LEVEL_DB,
    store: bool = True,
) -> dict[str, Any]:
    """Figures of the loop; UserError with one sentence if there is none that can be trusted."""
    sd = portaudio()
    device_in, device_out = resolve(input_spec, "input", sd), resolve(output_spec, "output", sd)
    rate_hz = rate or device_out.rate_hz
    out_channels = device_out.channels if device_out.channels <= MAX_OUT_CHANNELS else 2
    check_format(device_in, "input", channel, rate_hz, sd)
    check_format(device_out, "output", out_channels, rate_hz, sd)
    sequence = maximum_length_sequence(order_for(rate_hz))
    level = 10 ** (level_db / 20)
    found: list[Loop] = []
    for _ in range(OPENINGS):
        for _ in range(TRIES):
            player = Player(sequence * np.float32(level), rate_hz)
            play(sd, player, device_in, device_out, rate_hz, block, channel, out_channels)
            if not player.lost:
                break
        loop = listen(sequence, player.heard[len(sequence) :], rate_hz, level)
        remarks = judge(loop, rate_hz, player.lost)
        found.append(loop)
    delays = [loop.delay for loop in found]
    ms = 1000.0 / rate_hz
    if (max(delays) - min(delays)) * ms > MOVED_MS:
        said = " and ".join(f"{d * ms:.1f}" for d in delays)
        remarks.append(
            f"the delay differs each time that the device is opened ({said} ms); the mean is stored"
        )
    loop_ms = float(np.mean(delays)) * ms
    spread = max(max(delays) - min(delays), *(loop.spread for loop in found))
    figures = {
        "input": device_in.name,
        "output": device_out.name,
        "rate": rate_hz,
        "block": player.block,
        "loop_ms": round(loop_ms, 4),
        "loop_samples": round(loop_ms / ms, 3),
        "spread_samples": round(spread, 3),
        "said_ms": round(player.said_ms, 4),
        "more_than_said_ms": round(loop_ms - player.said_ms, 4),
        "signal": asdict(found[-1]),
        "remarks": remarks,
        "stored": "",
    }
    if store:
        where = remember_loop(device_in.name, device_out.name, rate_hz, player.block, loop_ms, spread)
        figures["stored"] = str(where)
    return figures


def program_ms(bundle: str, slack: int, figures: dict[str, Any]) -> dict[str, float]:
    """What the whole program will take with this loop: ms of each part, their sum, and what of it is without device."""
    from export.bundle.bundle import Bundle
    from realtime.audio.latencies import Latencies, algorithmic_ms
    from realtime.dsp.resample import reblocking_delay, span_at

    manifest = Bundle.open(find_bundle(bundle)).manifest
    rate, block = int(figures["rate"]), int(figures["block"])
    ms = 1000.0 / rate
    delay = reblocking_delay(rate, manifest.sample_rate, manifest.block, block)
    parts = {
        "loop": float(figures["loop_ms"]),
        "slack": slack * block * ms,
        "resampler": span_at(rate, manifest.sample_rate) * ms,
        "model": delay * ms + 1000.0 * manifest.latency_samples / manifest.sample_rate,
    }
    own = parts["resampler"] + parts["model"]
    three = Latencies(algorithmic_ms(manifest), own, parts["slack"], block * ms, parts["loop"])
    return {
        **{key: round(value, 3) for key, value in parts.items()},
        "total": round(three.device, 3),
        "software": round(three.software, 3),
        "algorithmic": round(three.model, 3),
    }


def _lines(figures: dict[str, Any]) -> list[str]:
    f, p = figures, figures["program"]
    return [
        f"{f['input']} <- {f['output']}",
        f"measured loop      {f['loop_ms']:8.3f} ms   ({f['loop_samples']:.2f} samples at {f['rate']} Hz, "
        f"block {f['block']}; repeats within {f['spread_samples']:.2f})",
        f"the system's word  {f['said_ms']:8.3f} ms   ({f['more_than_said_ms']:+.3f} ms in truth)",
        f"with the program   {p['total']:8.3f} ms   (slack {p['slack']:g}, resampler {p['resampler']:g}, "
        f"model and its block {p['model']:g}; the software alone {p['software']:g}, the model alone "
        f"{p['algorithmic']:g})",
        *(f"note: {remark}" for remark in f["remarks"]),
        f"stored in {f['stored']}" if f["stored"] else "not stored",
    ]
