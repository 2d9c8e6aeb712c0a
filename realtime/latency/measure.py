"""`python -m realtime.latency`: how long sound takes from the program's output back to its input.

Put a cable from an output of the interface into an input, then run it: a noise is played round and round and
found again in what comes back, to a fraction of a sample. What the system says of its own latency is shown
beside it. The figure is stored for these devices, this rate and this block, and the program uses it from then on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from realtime.audio.devices import Device, check_format, portaudio, resolve
from realtime.audio.latencies import JackPorts
from realtime.audio.stream import is_jack, said_ms
from realtime.options import SentenceParser, add_sound, exit_code
from realtime.shared.audio_config import find_bundle
from realtime.shared.latency_store import remember_loop
from umtn.errors import UserError

__all__ = [
    "Loop",
    "Player",
    "judge",
    "listen",
    "main",
    "maximum_length_sequence",
    "measure",
    "order_for",
    "play",
    "program_ms",
    "stream_settings",
]


# A noise that finds its own delay: play it round, correlate what comes back with what was sent.
#
# A maximum length sequence repeats itself after 2^n - 1 samples, and its circular correlation with itself is one
# spike on an even floor (Rife and Vanderkooy, "Transfer-function measurement with maximum-length sequences",
# 1989). The correlation with what came back is therefore the loop's impulse response, and its first strong spike
# the delay; between the samples it is read by trigonometric interpolation.


# feedback taps of primitive polynomials over GF(2)
_TAPS = {
    10: (10, 7), 11: (11, 9), 12: (12, 11, 10, 4), 13: (13, 12, 11, 8), 14: (14, 13, 12, 2), 15: (15, 14),
    16: (16, 15, 13, 4), 17: (17, 14), 18: (18, 11),
}  # fmt: skip
LONGEST_LOOP_S = 0.6
GUARD_S = 0.001  # around the spike: the converters' own filters ring there
FIRST = 0.5  # of the highest spike: the earliest one above is the direct way
FINE = 16  # steps between two samples
CLIPPED = 0.99
SILENT_DB = -90.0
NOTHING, WEAK = 10.0, 30.0  # spike over noise: below the first there is none, below the second it is not sure
ECHO_REFUSED_DB, ECHO_NOTED_DB = -10.0, -30.0
STEADY = 1.0  # samples that the delay may move between two rounds


def order_for(rate_hz: int) -> int:
    """The shortest sequence that is longer than the longest loop."""
    return next((n for n in _TAPS if (2**n - 1) / rate_hz >= LONGEST_LOOP_S), max(_TAPS))


def maximum_length_sequence(order: int) -> np.ndarray:
    """2^order - 1 values of +1 and -1, float32."""
    state = [1] * order
    taps = [t - 1 for t in _TAPS[order]]
    out = np.empty(2**order - 1, np.float32)
    for i in range(len(out)):
        out[i] = 1.0 - 2.0 * state[-1]
        bit = 0
        for t in taps:
            bit ^= state[t]
        state = [bit, *state[:-1]]
    return out


@dataclass(frozen=True)
class Loop:
    """What came back. delay in samples; gain and echo in dB; spread: how far the rounds disagree, in samples."""

    delay: float
    spread: float
    gain_db: float
    level_db: float
    peak: float
    confidence: float  # height of the spike over the noise around it
    echo_db: float
    echo_after: float  # samples
    inverted: bool


def listen(sequence: np.ndarray, heard: np.ndarray, rate_hz: int, level: float = 1.0) -> Loop:
    """`heard`: one or more whole rounds, starting where the sequence starts; level: amplitude it was played at."""
    period = len(sequence)
    rounds = heard[: len(heard) // period * period].reshape(-1, period).astype(np.float64)
    spectrum = np.fft.rfft(sequence.astype(np.float64)).conj() / (period * level)
    products = [np.fft.rfft(r) * spectrum for r in rounds]
    whole = np.mean(products, axis=0)
    response = np.fft.irfft(whole, period)
    at = _first_spike(np.abs(response))
    near = np.arange(-FINE, FINE + 1) / FINE
    turns = np.exp(2j * np.pi / period * np.outer(near, np.arange(len(spectrum))))
    delays = [_delay(p, period, turns, near) for p in products]
    echo_db, echo_after = _echo(np.abs(response), at, int(GUARD_S * rate_hz))
    rms = float(np.sqrt(np.mean(rounds**2)))
    spike = abs(float(response[at]))
    return Loop(
        delay=float(np.median(delays)),
        spread=float(max(delays) - min(delays)),
        gain_db=_db(spike),
        level_db=_db(rms),
        peak=float(np.abs(rounds).max()),
        confidence=spike / max(float(np.median(np.abs(response))) * 1.4826, 1e-12),
        echo_db=echo_db,
        echo_after=echo_after,
        inverted=bool(response[at] < 0),
    )


def _db(amplitude: float) -> float:
    return 20.0 * math.log10(max(amplitude, 1e-10))


def _first_spike(height: np.ndarray) -> int:
    """The earliest sample near the first strong spike's top."""
    first = int(np.argmax(height >= FIRST * height.max()))
    return first + int(np.argmax(height[first : first + 3]))


def _delay(product: np.ndarray, period: int, turns: np.ndarray, near: np.ndarray) -> float:
    """Top of the band-limited curve through one round's response, within one sample of its spike.

    turns [times, bins]: turns a spectrum by the times in `near` (samples).
    """
    at = _first_spike(np.abs(np.fft.irfft(product, period)))
    there = product * np.exp(2j * np.pi * at / period * np.arange(len(product))) * 2.0
    there[0] /= 2.0  # an odd length has no bin at half the rate
    curve = np.abs((turns @ there).real)
    k = min(max(int(np.argmax(curve)), 1), len(curve) - 2)
    left, top, right = curve[k - 1 : k + 2]
    bend = left - 2 * top + right
    return float(at + near[k] + (0.5 * (left - right) / bend / FINE if bend else 0.0))


def _echo(height: np.ndarray, at: int, guard: int) -> tuple[float, float]:
    """The second way round: its height against the first (dB), and how much later it comes (samples)."""
    rest = np.roll(height, -at).copy()
    rest[: guard + 1] = 0.0
    rest[len(rest) - guard :] = 0.0
    k = int(np.argmax(rest))
    return _db(float(rest[k] / max(height[at], 1e-10))), float(k)


def judge(loop: Loop, rate_hz: int, lost: int = 0) -> list[str]:
    """Remarks on a measurement that can be used; UserError with one sentence on one that cannot."""
    if loop.peak >= CLIPPED:
        raise UserError(
            f"the input clips (peak {loop.peak:.2f}); turn the input gain down, or play softer with --level"
        )
    if loop.confidence < NOTHING:
        if loop.level_db < SILENT_DB:
            raise UserError(
                "nothing at all came back; is a cable plugged from the output to this input, is the input the "
                "right --channel, are output and input turned up?"
            )
        raise UserError(
            f"only noise came back ({loop.level_db:.0f} dB), not what was played; is the cable in this output "
            "and this input, and the input the right --channel?"
        )
    if loop.confidence < WEAK:
        raise UserError(
            f"what came back is too quiet to be sure ({loop.gain_db:.0f} dB, in noise of {loop.level_db:.0f} dB); "
            "turn the input gain up, or play louder with --level"
        )
    if lost:
        raise UserError(
            f"{lost} block(s) were lost while measuring, so the delay is not to be trusted; try again with "
            "other programs closed, or with a larger --block"
        )
    if loop.spread > STEADY:
        raise UserError(
            f"the delay moved by {loop.spread:.1f} samples while measuring: input and output run on two clocks, "
            "or a sound server resamples; use one device for both"
        )
    echo_ms = 1000 * loop.echo_after / rate_hz
    if loop.echo_db > ECHO_REFUSED_DB:
        raise UserError(
            f"the sound comes back by two ways, the second {echo_ms:.1f} ms later and {loop.echo_db:.0f} dB "
            "against the first; use a cable instead of a loudspeaker, and switch direct monitoring off"
        )
    remarks = []
    if loop.echo_db > ECHO_NOTED_DB:
        remarks.append(f"a weak echo follows after {echo_ms:.1f} ms ({loop.echo_db:.0f} dB)")
    if loop.inverted:
        remarks.append("the polarity is inverted on the way")
    return remarks


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
    """Opens one duplex stream and plays until the player has heard enough; block in samples, channel from 1."""
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
