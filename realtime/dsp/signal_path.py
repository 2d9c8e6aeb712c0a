"""From the device's samples to the device's samples.

    in -> gain -> DC removal -> gate -> resample -> [block] encoder -> latent controls -> decoder(s)
     \\                                                                                    |
      delay line, aligned to the sample ------------- mix <------ resample <- hush <------/
                                                       \\-> gain -> limit -> out

Threading model: made in the main thread, then called by one thread only, the audio callback's. No call
allocates, locks or raises for anything that a signal can contain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from realtime.dsp.controls import Controls
from realtime.dsp.decoder_mixer import Voices
from realtime.dsp.fade import Fade
from realtime.dsp.filters import CHUNK, DcBlocker, DelayLine, Gate, Hush, Meter, Ramp, SoftLimiter, db_to_gain
from realtime.dsp.resample import Resampler, reblocking_delay, span_at
from realtime.dsp.ring_buffer import Fifo
from realtime.engines.engine import Engine
from realtime.shared.parameters import by_name
from realtime.shared.saved_classes import saved
from realtime.shared.scheduling import LEAST, Room

__all__ = ["Latency", "SignalPath"]

MAX_CALL = 16384
PANIC_FADE = 64  # samples


@saved("latency")
@dataclass(frozen=True)
class Latency:
    """Delay of the path in samples of the device's rate; exact. What the sound card adds is not in it."""

    resampler: int
    reblocking: int
    model: int

    @property
    def total(self) -> int:
        return self.resampler + self.reblocking + self.model


@saved("signal-path")
class SignalPath:
    """`process(x, out)` for any length; `block` is the length to expect (None: anything), set by the device.

    A call of an unexpected length moves the delay, once, to what any length needs. `blocks`: how many of the
    device's a computation may take (more than one when the model works ahead).
    """

    def __init__(
        self,
        engine: Engine,
        rate_hz: int,
        block: int | None,
        controls: Controls | None = None,
        blocks: float = 1.0,
    ) -> None:
        manifest = engine.manifest
        self.engine, self.rate_hz, self._block = engine, rate_hz, block
        self.controls = controls or Controls()
        self._model_block = manifest.block
        self.room = self._measure_room(block and block * blocks)
        self._voices = Voices(engine, self.controls.to, self.blend_max)
        self._make_resamplers(manifest.sample_rate)
        rates = (rate_hz, manifest.sample_rate, manifest.block)
        self._any_delay = reblocking_delay(*rates, None)
        model = round(manifest.latency_samples * rate_hz / manifest.sample_rate)
        # a block longer than a call may be is cut into irregular pieces
        known = None if block is None or block > MAX_CALL else block
        self.latency = Latency(span_at(rate_hz, manifest.sample_rate), reblocking_delay(*rates, known), model)
        self._fresh = False
        self._make_buffers()
        self._make_ramps()
        self.input_repairs = 0
        self._underruns = 0

    def _measure_room(self, samples: float | None) -> Room | None:
        """A block of the model must be done within its own length, and within the device's time where shorter."""
        manifest, cost = self.engine.manifest, self.engine.cost
        if cost is None:
            return None
        model_s = manifest.block / manifest.sample_rate
        return cost.room(min(model_s, samples / self.rate_hz) if samples else model_s)

    @property
    def blend_max(self) -> int:
        """How many decoders may run at once, as measured when the engine was loaded; for the status of that name."""
        domains = len(self.engine.manifest.domains)
        return domains if self.room is None else min(self.room.decoders, max(LEAST, domains))

    @property
    def gate_open(self) -> bool:
        return self._gate.open

    @property
    def can_transpose(self) -> bool:
        """Whether the bundle's latent names pitches; where it does not, `transpose` has no effect."""
        return self._voices.latent.can_transpose

    def _make_resamplers(self, model_hz: int) -> None:
        self._down = Resampler(self.rate_hz, model_hz, CHUNK, grid_hz=self.rate_hz)
        self._up = Resampler(model_hz, self.rate_hz, self._model_block, grid_hz=self.rate_hz)

    def _make_buffers(self) -> None:
        self._work = np.empty(CHUNK, np.float32)
        self._dry = np.empty(CHUNK, np.float32)
        self._model_in = np.empty(self._model_block, np.float32)
        self._model_out = np.empty(self._model_block, np.float32)
        self._resampled = np.empty(max(self._down.max_out, self._up.max_out), np.float32)
        self._gathered = Fifo(self._down.max_out + self._model_block)
        longest = self._any_delay + self.latency.resampler + self.latency.model
        self._wet = Fifo(MAX_CALL + longest + self._up.max_out)
        self._wet.write_zeros(self.latency.reblocking)
        self._delay = DelayLine(self.latency.total, longest)
        self._raw = np.empty(MAX_CALL, np.float32)

    def _make_ramps(self) -> None:
        c, rate = self.controls, self.rate_hz
        self._gain_in = Ramp(db_to_gain(c.input_gain_db), rate, by_name("input/gain_db").smoothing_ms)
        self._gain_out = Ramp(db_to_gain(c.output_gain_db), rate, by_name("output/gain_db").smoothing_ms)
        self._mix = Ramp(c.mix, rate, by_name("mix").smoothing_ms)
        self._bypass = Ramp(float(c.bypass), rate, by_name("bypass").smoothing_ms)
        self._loud = Ramp(float(not c.mute), rate, by_name("mute").smoothing_ms)
        self._blend = np.empty(CHUNK, np.float32)
        self._dc = DcBlocker(rate)
        self._gate, self._hush = Gate(rate), Hush(self.engine.manifest.sample_rate, self._model_block)
        self._limiter = SoftLimiter()
        self.meter_in, self.meter_out = Meter(rate), Meter(rate)
        self._temperature = self.engine.temperature
        self._drop = Fade(PANIC_FADE, PANIC_FADE)

    @property
    def resets(self) -> int:
        """Times that the model was restarted because its output was not finite or far too loud."""
        return self._voices.resets

    @property
    def underruns(self) -> int:
        """Pieces of output for which the wet buffer held too little; 0 where the delay is computed right."""
        return self._underruns

    @property
    def domain(self) -> int:
        return self._voices.domain

    def panic(self, out: np.ndarray, last: float) -> None:
        """Forget all sound; `out`, the block after the sample `last`, falls from there to silence in 64 samples."""
        self._forget()
        out[PANIC_FADE:] = 0.0
        self._drop.drop(last, out[:PANIC_FADE])

    def _forget(self) -> None:
        self._voices.reset()
        for part in (self._down, self._up, self._dc, self._gate, self._delay):
            part.reset()
        self._gathered.skip(len(self._gathered))
        self._wet.skip(len(self._wet))
        self._wet.write_zeros(self.latency.reblocking)

    def rise(self) -> None:
        """The next sound comes in a ramp, as after a panic, and not with whatever it begins with."""
        self._loud.start_from(0.0)

    def start_over(self) -> None:
        """Forget all sound, and take the next call's length for the length to expect from then on."""
        self._forget()
        self._fresh = True

    def process(self, x: np.ndarray, out: np.ndarray) -> None:
        """x, out: [n] float32, n from 1 on; `out` may be `x`."""
        for start in range(0, len(x), MAX_CALL):
            self._call(x[start : start + MAX_CALL], out[start : start + MAX_CALL])

    def _call(self, x: np.ndarray, out: np.ndarray) -> None:
        n = len(x)
        if n != self._block:
            if self._fresh:
                self._expect(n)
            elif self.latency.reblocking < self._any_delay:
                self._set_reblocking(self._any_delay)
        self._fresh = False
        self._follow()
        raw = self._raw[:n]
        np.copyto(raw, x)
        self._repair_input(raw)
        for start in range(0, n, CHUNK):
            self._listen(raw[start : start + CHUNK])
        for start in range(0, n, CHUNK):
            self._speak(raw[start : start + CHUNK], out[start : start + CHUNK])
        self.meter_in.process(raw)
        self.meter_out.process(out)

    def _follow(self) -> None:
        c = self.controls
        self._voices.choose(c.to, c.crossfade_ms, c.blend)
        latent = self._voices.latent
        latent.freeze, latent.transpose = c.freeze, c.transpose
        latent.shape(c.latent_scale, c.latent_bias)
        self._gate.aim(c.input_gate_db)
        if c.temperature != self._temperature:
            self.engine.temperature = self._temperature = c.temperature
        self._gain_in.aim(db_to_gain(c.input_gain_db))
        self._gain_out.aim(db_to_gain(c.output_gain_db))
        self._mix.aim(c.mix)
        self._bypass.aim(1.0 if c.bypass else 0.0)
        self._loud.aim(0.0 if c.mute else 1.0)

    def _repair_input(self, raw: np.ndarray) -> None:
        if not (-np.inf < float(raw.min()) and float(raw.max()) < np.inf):
            np.nan_to_num(raw, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
            self.input_repairs += 1
        np.clip(raw, -8.0, 8.0, out=raw)

    def _expect(self, n: int) -> None:
        """The device has another block than was asked for, and says so with its first call."""
        manifest = self.engine.manifest
        self._block = n
        self._wet.skip(len(self._wet))
        self.latency = replace(self.latency, reblocking=0)
        self._set_reblocking(reblocking_delay(self.rate_hz, manifest.sample_rate, manifest.block, n))

    def _set_reblocking(self, delay: int) -> None:
        """Later from now on: a device that broke its promise of a fixed block needs what any length needs."""
        self._wet.write_zeros(delay - self.latency.reblocking)
        self.latency = replace(self.latency, reblocking=delay)
        self._delay.delay = self.latency.total

    def _listen(self, raw: np.ndarray) -> None:
        """Device samples into as many model blocks as they complete, and those into the wet buffer."""
        work = self._work[: len(raw)]
        np.multiply(raw, self._gain_in.next(len(raw)), out=work)
        self._dc.process(work)
        self._gate.process(work)
        count = self._down.process(work, self._resampled)
        self._gathered.write(self._resampled[:count])
        while len(self._gathered) >= self._model_block:
            self._gathered.read(self._model_in)
            self._voices.process(self._model_in, self._model_out)
            self._hush.process(self._model_out, not (self._gate.open or self.controls.freeze))
            count = self._up.process(self._model_out, self._resampled)
            self._wet.write(self._resampled[:count])

    def _speak(self, raw: np.ndarray, out: np.ndarray) -> None:
        """Wet and aligned dry to the output."""
        n = len(raw)
        dry, wet, blend = self._dry[:n], self._work[:n], self._blend[:n]
        self._delay.process(raw, dry)
        self._underruns += self._wet.read(wet) < n
        if self._dry_needed():
            # mix: wet += (1 - mix) (gain dry - wet)
            np.multiply(dry, self._gain_in.value, out=blend)
            blend -= wet
            blend *= np.subtract(1.0, self._mix.next(n), out=self._mix.curve[:n])
            wet += blend
        wet *= self._gain_out.next(n)
        if self._bypass.settled and self._bypass.value == 1.0:
            np.copyto(wet, dry)
        elif not (self._bypass.settled and self._bypass.value == 0.0):
            np.subtract(dry, wet, out=blend)
            blend *= self._bypass.next(n)
            wet += blend
        if not (self._loud.settled and self._loud.value == 1.0):
            wet *= self._loud.next(n)
        self._limiter.process(wet)
        out[:] = wet

    def _dry_needed(self) -> bool:
        return not (self._mix.settled and self._mix.value == 1.0)
