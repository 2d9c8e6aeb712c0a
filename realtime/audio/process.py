"""The audio process: opens everything, plays until told to stop, closes everything.

Threading model: `run_audio` is the main thread of a spawned process. It sets up, then only looks now and then
whether to stop; the audio thread does the rest. The process outlives its parent: sound does not stop because
the control process did. Ctrl-C is the parent's to handle; only an orphan listens to it.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # read when numpy is first imported

import gc  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from contextlib import ExitStack, suppress  # noqa: E402
from dataclasses import replace  # noqa: E402
from multiprocessing import parent_process  # noqa: E402
from multiprocessing.connection import Connection  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from export.bundle.bundle import Bundle, BundleError  # noqa: E402
from realtime.audio.block_processor import Worker  # noqa: E402
from realtime.audio.commands import Commands  # noqa: E402
from realtime.audio.devices import Device, check_format, portaudio, resolve  # noqa: E402
from realtime.audio.latencies import Latencies, algorithmic_ms  # noqa: E402
from realtime.audio.model_loader import describe  # noqa: E402
from realtime.audio.render_ahead import BLOCKS_AHEAD  # noqa: E402
from realtime.audio.sound_files import FileSource, ReadAhead, file_rate, sound_path  # noqa: E402
from realtime.audio.stream import CLOCK_BLOCKS, CallbackStream, SoftwareClock, Stream  # noqa: E402
from realtime.dsp.signal_path import SignalPath  # noqa: E402
from realtime.engines import load_engine  # noqa: E402
from realtime.recording.sound_writers import FileRecorder  # noqa: E402
from realtime.shared.audio_config import (  # noqa: E402
    MAX_BLOCK,
    MAX_RATE_HZ,
    MAX_SLACK,
    MIN_BLOCK,
    MIN_RATE_HZ,
    AudioConfig,
    names_a_file,
)
from realtime.shared.latency_store import stored_loop_ms  # noqa: E402
from realtime.shared.memory import SharedState, SharedStateError  # noqa: E402
from realtime.shared.messages import Done, Failed, FromAudio, Ready, Swapped  # noqa: E402
from realtime.shared.places import folder_sentence  # noqa: E402
from realtime.shared.scheduling import (  # noqa: E402
    flush_denormals,
    request_realtime,
    step_back,
)
from umtn.errors import UserError  # noqa: E402

__all__ = ["run_audio"]

LOOK_SECONDS = 0.05
FADE_SECONDS = 0.06
FIGURE_LOOKS = 10  # a percentile costs more than a look
FIRST_BLOCK_SECONDS = 1.0
SETTLE_SECONDS = 2.0  # the same and more, for a thread that waits for it
MAX_OUT_CHANNELS = 8  # beyond this a device is a mixer or a sound server, which is given stereo
SWITCH_INTERVAL = 0.00005  # s: how long the model's thread may keep the callback waiting


def run_audio(config: AudioConfig, shared_name: str, conn: Connection) -> None:
    """Target of the spawned process. Sends `Ready` or `Failed`, then what commands.py lists, last `Done`."""
    stop = _StopSignals()
    try:
        shared = SharedState.attach(shared_name)
        with _Session(config, shared, conn) as session:
            _send(conn, session.ready())
            session.play(stop, shared)
        if error := session.error():
            _send(conn, Failed(error))
        _send(conn, Done(session.figures()))
        shared.close()
    except (UserError, BundleError, SharedStateError) as error:
        _send(conn, Failed(str(error)))
    except Exception as error:  # never a traceback on stage; the kind of error helps whoever reads the report
        _send(conn, Failed(f"the audio process failed ({type(error).__name__}: {error})"))
    finally:
        conn.close()


def _send(conn: Connection, message: FromAudio) -> None:
    with suppress(OSError, ValueError):  # the parent may be gone; the music is not
        conn.send(message)


class _StopSignals:
    """SIGTERM ends the process in order; SIGINT only when there is no parent left to say so."""

    def __init__(self) -> None:
        self.asked = False
        self._orphan = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True

    def look(self) -> bool:
        parent = parent_process()
        if not self._orphan and parent is not None and not parent.is_alive():
            self._orphan = True
            signal.signal(signal.SIGINT, self._ask)
        return self.asked


class _Session:
    """Everything that must be opened before the sound and closed after it, in that order."""

    def __init__(self, config: AudioConfig, shared: SharedState, conn: Connection) -> None:
        _check(config)
        self._config, self._conn, self._shared = config, conn, shared
        self._heard = ""
        self._rights: tuple[list[str], list[str]] = ([], [])
        self._input: Device | None = None
        self._output: Device | None = None
        self._recorder: FileRecorder | None = None
        self._source: FileSource | ReadAhead | None = None
        self._closing = ExitStack()
        self._sd: Any = None
        self._shared = shared
        self._settled, self._late_samples = threading.Event(), 0
        self._loop_of = 0  # the block that the stored loop was looked up for
        self._loop_ms: float | None = None
        try:
            self._open(shared)
        except BaseException:
            self._closing.close()
            raise

    def _open(self, shared: SharedState) -> None:
        config = self._config
        file = sound_path(config.input)
        record = config.output if names_a_file(config.output) else None
        self._find_devices(file, record)
        self._rate = self._choose_rate(file)
        bundle = Bundle.open(config.bundle)
        engine = load_engine(
            bundle, config.engine, precision=config.precision, cores=config.cores, live=not config.fast
        )
        self._check_devices()
        with_device = self._input is not None or self._output is not None
        if file is not None:
            source = FileSource(file, self._rate, config.channel)
            self._heard = f", {source.heard}" if source.heard else ""
            self._source = ReadAhead(source) if with_device else source
            self._closing.callback(self._source.close)
        if record is not None:
            if file is not None and Path(record).exists() and os.path.samefile(file, record):
                raise UserError(
                    f"{record} is the input file; choose another --out, or it would be overwritten"
                )
            self._recorder = FileRecorder(Path(record), self._rate)
            self._closing.callback(self._recorder.close)
        blocks = (BLOCKS_AHEAD if config.slack else 1.0) if with_device else CLOCK_BLOCKS
        path = SignalPath(engine, self._rate, config.block, blocks=blocks)
        self.worker = Worker(
            path,
            shared,
            self._source,
            self._recorder,
            config.seconds,
            config.tail_seconds,
            paced=not config.fast or with_device,
        )
        self.worker.warm_up(config.block)
        if config.realtime_priority and not config.fast:
            self._rights = request_realtime()
            self.worker.realtime_priority = True
        self._stream = self._make_stream()
        ahead = with_device and config.slack > 0
        self._commands = Commands(config, self.worker, self._tell, ahead, self._late)

    def _tell(self, message: FromAudio) -> None:
        if isinstance(message, Swapped):
            shown, parts = self._latency()
            message = replace(message, latency=shown, latency_ms=parts)
        _send(self._conn, message)

    def _find_devices(self, file: Path | None, record: str | None) -> None:
        wants_input = file is None
        wants_output = record is None and self._config.output != "none"
        if not (wants_input or wants_output):
            return
        try:
            self._sd = portaudio()
            if wants_input:
                self._input = resolve(self._config.input, "input", self._sd)
            if wants_output:
                self._output = resolve(self._config.output, "output", self._sd)
        except UserError:
            if wants_input and self._input is None and Path(self._config.input).is_dir():
                raise UserError(folder_sentence("--in", self._config.input)) from None
            if wants_output and self._output is None and Path(self._config.output).is_dir():
                raise UserError(folder_sentence("--out", self._config.output)) from None
            raise

    def _choose_rate(self, file: Path | None) -> int:
        if self._config.rate is not None:
            return self._config.rate
        device = self._output or self._input
        if device is not None:
            return device.rate_hz
        assert file is not None
        return max(MIN_RATE_HZ, file_rate(file))

    def _check_devices(self) -> None:
        if self._input is not None:
            check_format(self._input, "input", self._config.channel or 1, self._rate, self._sd)
        if self._output is not None:
            check_format(self._output, "output", self._out_channels(), self._rate, self._sd)

    def _out_channels(self) -> int:
        assert self._output is not None
        return self._output.channels if self._output.channels <= MAX_OUT_CHANNELS else 2

    def _make_stream(self) -> Stream:
        config = self._config
        if self._input is None and self._output is None:
            return SoftwareClock(self.worker, config.block, self._rate, config.fast)
        out_channels = self._out_channels() if self._output else 0
        try:
            return CallbackStream(
                self._sd,
                self.worker,
                self._rate,
                config.block,
                config.channel or 1,
                self._input,
                self._output,
                out_channels,
                config.slack,
            )
        except self._sd.PortAudioError as error:
            names = " and ".join(d.name for d in (self._input, self._output) if d)
            raise UserError(
                f"{names} cannot be opened at {self._rate} Hz, block {config.block} "
                f"({str(error).split(':')[0]}); is another program using it? --list shows the devices"
            ) from None

    def ready(self) -> Ready:
        """What the start-up line tells."""
        granted, advice = self._rights
        shown, parts = self._latency()
        return Ready(
            bundle=describe(self.worker.path, Path(self._config.bundle)),
            input=self._input.name if self._input else str(sound_path(self._config.input)) + self._heard,
            output=self._output.name if self._output else self._config.output,
            kept=str(self._recorder.kept or "") if self._recorder else "",
            rate=self._rate,
            block=self.worker.block_length or self._config.block,
            slack_blocks=self._config.slack if self._input or self._output else None,
            granted=(*granted, *(["denormals off"] if flush_denormals() else [])),
            advice=tuple(advice),
            latency=shown,
            latency_ms=parts,
        )

    def _latency(self) -> tuple[dict[str, float], dict[str, float]]:
        """The three that are shown, and the last one's parts; all in ms."""
        latency, ms, now = self.worker.path.latency, 1000.0 / self._rate, self._latencies()
        parts = {
            "io": round(now.outside - now.slack, 3),
            "slack": round(now.slack, 3),
            "resampler": round(latency.resampler * ms, 3),
            "model": round((latency.reblocking + latency.model) * ms, 3),
        }
        return now.shown(), parts

    def _latencies(self) -> Latencies:
        """As they are now: another connection, block or bundle changes them."""
        path, stream, ms = self.worker.path, self._stream, 1000.0 / self._rate
        return Latencies(
            model=algorithmic_ms(path.engine.manifest),
            path=path.latency.total * ms,
            slack=stream.slack_ms,
            block=self._block() * ms if stream.gathers else 0.0,
            io=self._io_ms(),
        )

    def _block(self) -> int:
        return self.worker.block_length or self._config.block

    def _io_ms(self) -> float:
        """What `python -m realtime.latency` has measured of these devices, else their own word."""
        if self._input is not None and self._output is not None:
            if self._loop_of != self._block():
                self._loop_of = self._block()
                names = self._input.name, self._output.name
                self._loop_ms = stored_loop_ms(*names, self._rate, self._loop_of)
            if self._loop_ms is not None:
                return self._loop_ms
        return self._stream.io_latency_ms

    def _show_latency(self) -> None:
        now, tell = self._latencies(), self._shared.status_set
        tell("latency_ms", now.device)
        tell("latency_software_ms", now.software)
        tell("latency_model_ms", now.model)
        if self._input is not None and self._output is not None:  # a file's samples do not sound anywhere
            self._late_samples = round(now.outside * self._rate / 1000.0)

    def _late(self) -> int:
        """`Latencies.outside` in samples; for a thread that records, which waits until the first block has told."""
        self._settled.wait(SETTLE_SECONDS)
        return self._late_samples

    def figures(self) -> dict[str, object]:
        """What is said at the end."""
        return {**self.worker.figures(), **self._stream.figures()}

    def __enter__(self) -> _Session:
        gc.collect()
        gc.freeze()
        gc.disable()
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._start()
        step_back(2)  # callback, model, main thread, and what that starts: each yields to those before it
        deadline = time.monotonic() + FIRST_BLOCK_SECONDS
        while self.worker.blocks == 0 and not self.worker.finished and time.monotonic() < deadline:
            time.sleep(0.002)  # only the first block tells what block the device has
        self._show_latency()
        self._settled.set()
        return self

    def _start(self) -> None:
        """Sound, then files: whatever could refuse has not, and the recorder's ring waits for its file.

        Not if control has refused meanwhile and is taking everything back.
        """
        try:
            stopped = self._shared.stop_flag
            if self._config.record is not None and not stopped:
                self._commands.record(self._config.record)
            self._stream.start()
            if self._recorder is not None and not stopped:
                self._recorder.open()
        except BaseException:
            self._commands.close()
            self._closing.close()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._stream.stop()
            self._commands.close()
        finally:
            self._closing.close()

    def play(self, stop: _StopSignals, shared: SharedState) -> None:
        """Wait until the file ends, the time is over, someone says stop, or the device goes away."""
        self._lost = False
        worker, heard, looks = self.worker, True, 0
        while not (worker.finished or shared.stop_flag or stop.look()):
            if not self._stream.active:
                self._lost = not worker.finished
                return
            heard = heard and self._commands.listen(self._conn, LOOK_SECONDS)
            if not heard:
                time.sleep(LOOK_SECONDS)
            self._commands.poll()
            if looks % FIGURE_LOOKS == 0:
                shared.status_set("callback_p999_us", self._stream.callback.percentile_us(0.999))
                self._show_latency()
            looks += 1
        if not worker.finished:
            worker.fade_out = True
            time.sleep(FADE_SECONDS)
        time.sleep(self._stream.slack_ms / 1000.0)  # what is made is still to be heard

    def error(self) -> str | None:
        """What went wrong while it played, if something did; the recording is complete by now."""
        if self._lost:
            return "the sound device stopped; is it still plugged in, is the sound server still running?"
        if self._recorder is not None and self._recorder.error:
            return self._recorder.error
        return self._source.error if self._source is not None else None


def _check(config: AudioConfig) -> None:
    if not MIN_BLOCK <= config.block <= MAX_BLOCK:
        raise UserError(f"--block is {config.block}, but must lie from {MIN_BLOCK} to {MAX_BLOCK} frames")
    if config.rate is not None and not MIN_RATE_HZ <= config.rate <= MAX_RATE_HZ:
        raise UserError(f"--rate is {config.rate}, but must lie from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    if config.channel is not None and config.channel < 1:
        raise UserError(f"--channel is {config.channel}, but channels are counted from 1")
    if not 0 <= config.slack <= MAX_SLACK:
        raise UserError(f"--slack is {config.slack}, but must lie from 0 to {MAX_SLACK} blocks")
    if config.seconds is not None and not config.seconds > 0:
        raise UserError(f"--seconds is {config.seconds:g}, but must be more than 0")
    if config.fast and sound_path(config.input) is None:
        if Path(config.input).is_dir():
            raise UserError(folder_sentence("--in", config.input))
        raise UserError("--fast is for sound files; a microphone keeps its own pace")
