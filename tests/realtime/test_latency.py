"""The loop's measurement: against simulated loops of known delay, and over a real jackd."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from realtime.audio.devices import Device
from realtime.latency import measure
from realtime.latency.measure import judge, listen, maximum_length_sequence, order_for, stream_settings
from realtime.shared.latency_store import loops, remember_loop, store_path, stored_loop_ms
from umtn.errors import UserError

RATE = 48000
SEQUENCE = maximum_length_sequence(12)  # short: the tests need no 0.6 s


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMTN_CONFIG", str(tmp_path / "config"))


def through(
    delay: float, gain: float = 0.35, noise: float = 0.0, echo: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Three rounds of the sequence after a loop; a delay of any fraction of a sample, by its phase."""
    spectrum = np.fft.rfft(SEQUENCE)
    turns = np.arange(len(spectrum)) / len(SEQUENCE)
    answer = gain * np.exp(-2j * np.pi * turns * delay) + echo[0] * np.exp(
        -2j * np.pi * turns * (delay + echo[1])
    )
    heard = np.tile(np.fft.irfft(spectrum * answer, len(SEQUENCE)), 3)
    return (heard + noise * np.random.default_rng(0).standard_normal(len(heard))).astype(np.float32)


def test_a_maximum_length_sequence_is_one_spike() -> None:
    for order in (10, 12, 15):
        x = maximum_length_sequence(order)
        assert len(x) == 2**order - 1 and set(np.unique(x)) == {-1.0, 1.0}
        r = np.fft.irfft(np.abs(np.fft.rfft(x.astype(float))) ** 2, len(x))
        assert r[0] == pytest.approx(len(x)) and np.allclose(r[1:], -1, atol=1e-6)


def test_the_sequence_outlasts_the_longest_loop() -> None:
    for rate in (8000, 44100, 48000, 96000, 192000):
        assert (2 ** order_for(rate) - 1) / rate >= 0.6


@pytest.mark.parametrize("delay", [1.0, 256.0, 1023.5, 700.3, 3000.125])
def test_a_delay_is_found_to_a_fraction_of_a_sample(delay: float) -> None:
    loop = listen(SEQUENCE, through(delay), RATE)
    assert loop.delay == pytest.approx(delay, abs=0.01)
    assert loop.gain_db == pytest.approx(
        -9, abs=4.2
    )  # half a sample off the grid the highest sample is lower
    assert judge(loop, RATE) == [] and not loop.inverted


def test_noise_quiet_cables_and_wrong_polarity_are_borne() -> None:
    loop = listen(SEQUENCE, through(512.25, gain=-0.02, noise=0.01), RATE)
    assert loop.delay == pytest.approx(512.25, abs=0.1) and loop.inverted
    assert judge(loop, RATE) == ["the polarity is inverted on the way"]


def test_the_first_way_round_counts_even_if_a_later_one_is_louder() -> None:
    loop = listen(SEQUENCE, through(300.0, gain=0.4, echo=(0.5, 900.0)), RATE)
    assert loop.delay == pytest.approx(300.0, abs=0.01)
    with pytest.raises(UserError, match="two ways, the second 18.8 ms later"):
        judge(loop, RATE)


def test_a_weak_echo_is_mentioned_only() -> None:
    loop = listen(SEQUENCE, through(300.0, echo=(0.035, 480.0)), RATE)
    assert judge(loop, RATE) == ["a weak echo follows after 10.0 ms (-20 dB)"]


@pytest.mark.parametrize(
    ("heard", "sentence"),
    [
        (np.zeros(3 * len(SEQUENCE), np.float32), "nothing at all came back; is a cable plugged"),
        (through(0.0, gain=0.0, noise=0.01), "only noise came back"),
        (through(300.0, gain=0.003, noise=0.014), "too quiet to be sure"),
        (through(300.0, gain=1.0), "the input clips"),
    ],
)
def test_a_loop_that_cannot_be_trusted_gets_a_sentence(heard: np.ndarray, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        judge(listen(SEQUENCE, heard, RATE), RATE)


def test_two_clocks_and_lost_blocks_are_told_apart() -> None:
    moving = np.concatenate([through(300.0)[: len(SEQUENCE)], through(303.0)[: len(SEQUENCE)]])
    with pytest.raises(UserError, match=r"moved by 3\.0 samples"):
        judge(listen(SEQUENCE, moving, RATE), RATE)
    with pytest.raises(UserError, match=r"2 block\(s\) were lost"):
        judge(listen(SEQUENCE, through(300.0), RATE), RATE, lost=2)


def test_a_stored_loop_is_found_by_its_four_keys_alone() -> None:
    assert stored_loop_ms("a", "b", 48000, 128) is None
    remember_loop("a", "b", 48000, 128, 9.5, 0.0)
    remember_loop("a", "b", 48000, 256, 14.5, 0.0)
    remember_loop("a", "b", 48000, 128, 10.25, 0.1)
    assert stored_loop_ms("a", "b", 48000, 128) == 10.25
    assert stored_loop_ms("a", "b", 48000, 256) == 14.5
    for other in (("b", "a", 48000, 128), ("a", "b", 44100, 128), ("a", "b", 48000, 64)):
        assert stored_loop_ms(*other) is None
    assert len(loops()) == 2


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 1}', '{"format": 9, "loops": [1]}', "\x00\x01", 100_000 * "["]
)
def test_a_broken_store_is_put_aside_not_obeyed(content: str) -> None:
    store_path().parent.mkdir(parents=True)
    store_path().write_text(content)
    assert stored_loop_ms("a", "b", 48000, 128) is None
    remember_loop("a", "b", 48000, 128, 9.5, 0.0)
    assert stored_loop_ms("a", "b", 48000, 128) == 9.5
    assert store_path().with_suffix(".old.json").read_text() == content


def test_a_stored_figure_that_is_none_is_ignored() -> None:
    remember_loop("a", "b", 48000, 128, 9.5, 0.0)
    for bad in ("NaN", "Infinity", "-Infinity", "1e400", "true", "1" + 400 * "0", '"9"', "-1", "1e9", "null"):
        text = json.dumps(json.loads(store_path().read_text()))
        store_path().write_text(text.replace("9.5", bad))
        assert stored_loop_ms("a", "b", 48000, 128) is None
        store_path().write_text(text)


def test_the_measuring_stream_is_opened_as_the_program_opens_its_own() -> None:
    """Another blocksize or latency would measure another delay than the one that is played with."""
    from realtime.audio.stream import CallbackStream

    seen: dict[str, Any] = {}

    def stream(**settings: Any) -> Any:
        seen.update(settings)
        return SimpleNamespace(latency=(0.01, 0.01), active=False)

    sd = SimpleNamespace(Stream=stream)
    for device in (Device(0, "x, ALSA", 2, RATE), Device(0, "x, JACK Audio Connection Kit", 2, RATE)):
        worker: Any = SimpleNamespace(block=None, judges_time=True)
        CallbackStream(sd, worker, RATE, 96, 1, device, device, 2)
        ours = stream_settings(RATE, 96, device)
        assert {key: seen[key] for key in ours} == ours
        assert set(seen) - set(ours) == {"device", "channels", "callback"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--block", "4"], "--block: takes a whole number from 32 to 4096, but 4 came"),
        (["--rate", "1"], "--rate: takes a whole number from 8000 to 192000"),
        (["--slack", "9"], "--slack: takes a whole number from 0 to 8, but 9 came"),
        (["--channel", "0"], "--channel counts from 1"),
        (["--level", "6"], "--level takes -60 to -3 dB"),
        (["--level", "nan"], "--level takes -60 to -3 dB"),
        (["--blok", "4"], "unrecognized"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and sentence in said and said.count("\n") == 1


class _Patch:
    """Wires PortAudio's output to its input by way of a client that delays by `frames`, as often as it appears."""

    def __init__(self, frames: int, gain: float = 1.0) -> None:
        import jack

        jack.set_error_function(lambda _: None)
        self._client = jack.Client("umtn-cable", no_start_server=True)
        self._in = self._client.inports.register("in")
        self._out = self._client.outports.register("out")
        self._line = np.zeros(frames + 8192, np.float32)
        self._frames, self._gain = frames, gain
        self._client.set_process_callback(self._process)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._wire, daemon=True)

    def _process(self, n: int) -> None:
        line, d = self._line, self._frames
        line[: d + n] = np.concatenate([line[n : d + n], self._in.get_array()]) if d else self._in.get_array()
        self._out.get_array()[:] = line[:n] * self._gain

    def _wire(self) -> None:
        import jack

        while not self._stop.is_set():
            time.sleep(0.01)
            with suppress(jack.JackError):  # a port may go while it is being connected
                # the second stream's ports have other numbers than the first's
                for port in self._client.get_ports("PortAudio:", is_audio=True, is_input=True):
                    if self._out not in self._client.get_all_connections(port):
                        self._client.connect(self._out, port)
                for port in self._client.get_ports("PortAudio:", is_audio=True, is_output=True)[:1]:
                    if self._in not in self._client.get_all_connections(port):
                        self._client.connect(port, self._in)

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._client:
            self._thread.start()
            yield
            self._stop.set()
            self._thread.join()


class _Interface(_Patch):
    """A cable that is a device: it tells JACK its latency, `frames` after its input and a block before its output.

    That block is the server's own: our program feeds it and it feeds our program.
    """

    def __init__(self, frames: int, block: int) -> None:
        super().__init__(frames)
        import jack

        library, cast = ctypes.CDLL("libjack.so.0"), jack._ffi.cast
        pointers = [
            ctypes.c_void_p(int(cast("uintptr_t", own._ptr))) for own in (self._client, self._in, self._out)
        ]
        kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)

        def tell(mode: int, _: object) -> None:
            port, most = ((pointers[2], block), (pointers[1], frames))[mode]
            library.jack_port_set_latency_range(port, mode, (ctypes.c_uint32 * 2)(most, most))

        self._tell = kind(tell)  # kept: JACK has only its address
        library.jack_set_latency_callback(pointers[0], self._tell, None)

    def _wire(self) -> None:
        """PortAudio does it."""


def _measured(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: PortAudio looks for JACK only once."""
    command = [sys.executable, "-m", "realtime.latency", "--json", "--block", "128", *arguments]
    for _ in range(6):
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if "were lost while measuring" not in run.stderr:  # the machine stood still: it says to try again
            break
    return run


@pytest.mark.jackd
def test_over_jack_a_cable_of_known_length_is_measured_to_the_sample() -> None:
    """The patch adds a known delay; everything else is a whole number of JACK's own periods."""
    pytest.importorskip("jack")
    from benchmarks.jack import jack_server

    found = {}
    with jack_server(128):
        for frames in (0, 1000):
            with _Patch(frames).running():
                run = _measured()
            assert run.returncode == 0, run.stderr
            found[frames] = json.loads(run.stdout)
        unplugged = _measured()
    assert found[1000]["loop_samples"] - found[0]["loop_samples"] == pytest.approx(1000, abs=0.01)
    periods = found[0]["loop_samples"] / 128
    assert periods == pytest.approx(round(periods), abs=1e-4) and 1 <= periods <= 3
    assert found[0]["block"] == 128 and found[0]["spread_samples"] < 0.01
    assert found[0]["program"]["total"] > found[0]["loop_ms"]
    name = found[0]["input"]
    assert stored_loop_ms(name, found[0]["output"], RATE, 128) == pytest.approx(found[1000]["loop_ms"])
    assert unplugged.returncode == 2 and unplugged.stdout == ""
    assert unplugged.stderr.startswith("error: nothing at all came back; is a cable plugged")


@pytest.mark.jackd
def test_over_jack_the_ports_say_what_is_measured() -> None:
    """Also of ports that are not the hardware's: the whole way to it counts, as each client on it tells."""
    pytest.importorskip("jack")
    from benchmarks.jack import jack_server

    with jack_server(128), _Interface(1000, 128).running():
        run = _measured("--in", "umtn-cable", "--out", "umtn-cable")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["loop_samples"] == pytest.approx(1128, abs=1)
    assert found["said_ms"] == pytest.approx(found["loop_ms"], abs=1000 / RATE)
    program = found["program"]
    assert program["algorithmic"] <= program["software"] <= program["total"]
    assert program["total"] - program["software"] == pytest.approx(found["loop_ms"] - 128e3 / RATE, abs=0.01)
