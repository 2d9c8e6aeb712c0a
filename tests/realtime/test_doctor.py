"""The doctor's judgements, fed with what machines say; and one visit on a real jackd."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.audio.devices import Device
from realtime.doctor import cost, machine, sound
from realtime.doctor import report as doctor
from realtime.doctor.finding import Finding, ok, page, stop, warn, would_stop
from realtime.engines.select import UNCOMPILED
from realtime.shared.latency_store import remember_loop
from tests.realtime.fakebundle import write_fake_bundle

JACK = "system, JACK Audio Connection Kit"


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMTN_CONFIG", str(tmp_path / "config"))


def said(finding: Finding) -> str:
    return f"{finding.level}: {finding.text} -> {finding.mend}"


def test_the_page_names_the_worst_last() -> None:
    findings = [ok("a", "fine"), warn("b", "hm", "do this"), stop("c", "no", "do that")]
    text = page(findings)
    assert text.splitlines()[-1] == "1 thing(s) would stop a show, 1 more may be heard."
    assert "STOP  c" in text and "-> do that" in text
    assert would_stop(findings) and not would_stop(findings[:2])
    assert page([ok("a", "fine")]).splitlines()[-1] == "Ready."


def test_no_finding_is_longer_than_a_line_is_wide() -> None:
    assert max(map(len, page([warn("b", "word " * 80, "mend " * 80)]).splitlines())) <= 110


def test_packages() -> None:
    needed = {"numpy": "2.0", "sounddevice": "0.5"}
    assert said(machine.judge_packages((3, 11, 2), needed, {"aiohttp": "3"})).startswith(
        "ok: Python 3.11.2, numpy 2"
    )
    assert machine.judge_packages((3, 10, 9), needed, {}).level == "stop"
    lacking = machine.judge_packages((3, 12, 0), {**needed, "soundfile": ""}, {})
    assert (
        lacking.level == "stop"
        and lacking.text.startswith("soundfile missing")
        and "pip install" in lacking.mend
    )
    extra = machine.judge_packages((3, 12, 0), needed, {"mido": "", "rtmidi": ""})
    assert extra.level == "warn" and "not there: MIDI" in extra.text
    assert extra.mend == "pip install mido python-rtmidi"


def test_rights() -> None:
    assert machine.judge_rights(["SCHED_FIFO 5"], []).level == "ok"
    finding = machine.judge_rights([], ["real-time priority: add yourself to the group audio"])
    assert (
        finding.level == "warn"
        and finding.text.startswith("no real-time rights")
        and "group audio" in finding.mend
    )


@pytest.mark.parametrize(
    ("governors", "level"),
    [
        ([], "ok"),
        (["", ""], "ok"),
        (["performance"] * 4, "ok"),
        (["performance", "powersave"], "warn"),
        (["schedutil"], "warn"),
    ],
)
def test_governors(governors: list[str], level: str) -> None:
    finding = machine.judge_governors(governors)
    assert finding.level == level and ("cpupower" in finding.mend) == (level == "warn")


@pytest.mark.parametrize(
    ("battery", "percent", "level"),
    [(None, None, "ok"), (False, 80, "ok"), (True, 80, "warn"), (True, None, "warn"), (True, 12, "stop")],
)
def test_battery(battery: bool | None, percent: int | None, level: str) -> None:
    assert machine.judge_battery(battery, percent).level == level


@pytest.mark.parametrize(
    ("battery", "settings", "level"),
    [
        ("Now drawing from 'AC Power'\n -InternalBattery-0\t100%; charged", " lowpowermode         0", "ok"),
        ("Now drawing from 'Battery Power'\n -InternalBattery-0\t64%; discharging", "", "warn"),
        ("Now drawing from 'Battery Power'\n -InternalBattery-0\t9%; discharging", "", "stop"),
        ("Now drawing from 'AC Power'\n", " lowpowermode         1", "warn"),
        ("Now drawing from 'AC Power'\n", "", "ok"),
        ("", "", "ok"),
    ],
)
def test_what_macos_says_of_its_power(battery: str, settings: str, level: str) -> None:
    assert machine.judge_pmset(battery, settings).level == level


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("GUID des Energieschemas: 8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c  (Höchstleistung)", "ok"),
        ("Power Scheme GUID: 381b4222-f694-41f0-9685-ff5bb260df2e  (Balanced)", "warn"),
        ("Power Scheme GUID: A1841308-3541-4FAB-BC81-F71556F20B4A  (Power saver)", "warn"),
        ("", "ok"),
    ],
)
def test_what_windows_says_of_its_plan(text: str, level: str) -> None:
    finding = machine.judge_powercfg(text)
    assert finding.level == level and ("SCHEME_MIN" in finding.mend) == (level == "warn")


def test_disk_load_and_midi() -> None:
    hour = 2 * 4 * 48000 * 3600
    assert machine.judge_disk(3 * hour, 48000, True, "here").text == "room for 3.0 hours of recording in here"
    assert machine.judge_disk(hour // 2, 48000, True, "here").level == "warn"
    assert machine.judge_disk(9 * hour, 48000, False, "here").level == "warn"
    assert machine.judge_load(0.5, 4).level == "ok" and machine.judge_load(3.0, 4).level == "warn"
    assert machine.judge_midi(None, None).level == machine.judge_midi([], []).level == "ok"
    assert "Launch Control" in machine.judge_midi(["Launch Control"], []).text


def test_a_port_is_free_ours_or_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(1)
        taken, page_port = udp.getsockname()[1], tcp.getsockname()[1]
        assert not machine.port_free("127.0.0.1", taken, udp=True)
        assert not machine.port_free("127.0.0.1", page_port, udp=False)
        assert not machine.is_session("127.0.0.1", taken)  # it does not answer
        found = machine.ports("127.0.0.1", taken)[0]
        assert found.level == "stop" and found.mend.startswith(f"--osc-port {taken + 1}")
    assert machine.port_free("127.0.0.1", taken, udp=True) and machine.port_free(
        "127.0.0.1", page_port, udp=False
    )
    assert [f.level for f in machine.ports("127.0.0.1", 0)] == ["ok"]
    assert machine.judge_port("UDP", "OSC", 65535, False, False, "--osc-port").mend.startswith(
        "--osc-port 65534"
    )


def test_a_running_session_is_known_as_ours() -> None:
    from realtime.control.namespace import Namespace
    from realtime.control.osc.udp_server import OscServer
    from realtime.shared.memory import SharedState

    shared = SharedState.create()
    server = OscServer(Namespace(shared, ("strings",)), "127.0.0.1", 0)
    server.start()
    try:
        finding = machine.ports("127.0.0.1", int(server.port))[0]
        assert finding.level == "warn" and "a session of this program" in finding.text
    finally:
        server.stop()
        shared.close()
        shared.unlink()


@pytest.mark.parametrize(
    ("platform", "used", "pipewire", "level", "mend"),
    [
        ("linux", "JACK Audio Connection Kit", False, "ok", ""),
        ("linux", "ALSA", True, "warn", "pw-jack"),
        ("linux", "ALSA", False, "warn", "jackd -R"),
        ("linux", "", False, "warn", "jackd -R"),
        ("darwin", "Core Audio", False, "ok", ""),
        ("win32", "MME", False, "warn", "WASAPI"),
        ("win32", "Windows WASAPI", False, "ok", ""),
    ],
)
def test_sound_servers(platform: str, used: str, pipewire: bool, level: str, mend: str) -> None:
    finding = sound.judge_server(platform, ["ALSA", used], used, pipewire)
    assert finding.level == level and mend in finding.mend


def test_rates_and_clocks() -> None:
    one, other = Device(0, "a, ALSA", 2, 48000), Device(1, "b, ALSA", 2, 44100)
    assert sound.judge_rates(one, one, 48000) == []
    assert [f.level for f in sound.judge_rates(one, other, 48000)] == ["warn", "warn"]
    assert "two clocks" in sound.judge_rates(one, other, 48000)[0].text
    assert (
        sound.judge_rates(
            Device(0, JACK, 1, 48000), Device(0, "b, JACK Audio Connection Kit", 2, 48000), 48000
        )
        == []
    )


class FakePortAudio:
    """Two devices; the second refuses any rate but its own."""

    PortAudioError = RuntimeError
    default = SimpleNamespace(device=(0, 1))

    def __init__(self, devices: list[tuple[str, int, int, int]]) -> None:
        self._devices = devices

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "ALSA", "devices": list(range(len(self._devices)))}]

    def query_devices(self, index: int | None = None) -> Any:
        found = [
            {
                "name": n, "hostapi": 0, "max_input_channels": i, "max_output_channels": o, "default_samplerate": r,
                "default_low_input_latency": 0.004, "default_low_output_latency": 0.006,
            }
            for n, i, o, r in self._devices
        ]  # fmt: skip
        return found if index is None else found[index]

    def check_input_settings(self, device: int, samplerate: int, **_: Any) -> None:
        if samplerate != self._devices[device][3]:
            raise RuntimeError("Invalid sample rate: -9997")

    check_output_settings = check_input_settings


def test_devices_are_judged_as_the_program_would_open_them(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakePortAudio([("Mic", 1, 0, 48000), ("Speaker", 0, 2, 44100)])
    monkeypatch.setattr(sound, "portaudio", lambda: fake)
    found = sound.sound("mic", "default", None)
    assert found.rate_hz == 44100 and found.said_ms == pytest.approx(10.0)
    refused = [f for f in found.findings if f.level == "stop"]
    assert len(refused) == 1 and "Mic, ALSA does not run at 44100 Hz" in refused[0].text
    fake._devices = [("Speaker", 0, 2, 44100)]
    nothing = sound.sound("mic", "default", None)
    assert nothing.input is None and nothing.findings[0].level == "stop"
    assert "no audio input device" in nothing.findings[0].text


def test_a_missing_portaudio_is_a_finding_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Any:
        raise RuntimeError("Error initializing PortAudio")

    monkeypatch.setattr(sound, "portaudio", fails)
    assert sound.sound("mic", "default", None).findings[0].level == "stop"


def test_latency_uses_the_measured_loop_where_there_is_one() -> None:
    device = Device(0, JACK, 2, 48000)
    found = sound.Sound([], device, device, 48000, 8.0)
    guess = sound.judge_latency(found, 96, 1, 3.0, 2.5)
    assert "of it 7.0 ms the software with its block and slack, 2.5 ms the model" in guess.text
    assert guess.level == "ok" and guess.text.startswith("13.0 ms") and "realtime.latency" in guess.mend
    remember_loop(JACK, JACK, 48000, 96, 6.5, 0.0)
    true = sound.judge_latency(found, 96, 1, 3.0)
    assert true.text.startswith("11.5 ms") and "6.5 (measured)" in true.text and true.mend == ""
    assert sound.judge_latency(found, 2048, 1, 3.0).level == "warn"
    assert sound.judge_latency(sound.Sound([], None, None, 48000, None), 96, 1, 3.0).level == "ok"


@pytest.mark.parametrize(
    ("mean", "p99", "slack", "level"),
    [
        (500, 900, 1, "ok"),
        (500, 2300, 1, "warn"),
        (500, 3000, 0, "stop"),
        (500, 3000, 1, "warn"),
        (500, 9000, 2, "stop"),
        (500, 9000, 3, "warn"),
        (2000, 2100, 1, "stop"),
    ],
)
def test_a_domain_is_judged_by_the_time_of_a_block(mean: float, p99: float, slack: int, level: str) -> None:
    finding = cost.judge_domain(
        "piano", {"mean_us": mean, "p99_us": p99, "longest_us": p99}, 128, 48000, slack
    )
    assert finding.level == level and finding.text.startswith(f"piano: RTF {mean * 48e-3 / 128:.2f}")


def test_room_for_a_blend() -> None:
    assert cost.judge_blend(0.1, 0.2, 1.0, 5).text.startswith("3 of 5 decoders")
    assert [cost.judge_blend(0.1, d, 1.0, 5).level for d in (0.2, 0.35, 0.5)] == ["ok", "warn", "stop"]
    assert cost.judge_blend(0.1, 0.5, 1.0, 1).level == "ok"  # nothing to change to


def test_an_engine_that_could_be_faster_is_a_warning() -> None:
    assert cost.judge_engine("") == []
    (found,) = cost.judge_engine(UNCOMPILED)
    assert found.level == "warn" and "ONNX Runtime" in found.text
    assert found.mend.startswith("python -m umtn.native")


def test_stalls_are_held_against_the_block() -> None:
    short, long = [(1.0, 1.002)], [(1.0, 1.008)]
    assert cost.judge_stalls([], 2.0, 128, 48000, 1).level == "ok"
    assert cost.judge_stalls(short, 2.0, 128, 48000, 1).level == "ok"
    once = cost.judge_stalls(long, 2.0, 128, 48000, 1)
    assert once.level == "warn" and once.mend.startswith("--slack 3 or --block 256")
    assert cost.judge_stalls(long * 3, 2.0, 128, 48000, 1).level == "stop"
    assert cost.judge_stalls(long * 3, 2.0, 256, 48000, 1).level == "warn"
    assert cost.judge_stalls(long * 3, 2.0, 512, 48000, 0).level == "ok"
    forgiven = cost.judge_stalls(long * 3, 2.0, 128, 48000, 3)
    assert forgiven.level == "warn" and forgiven.mend.startswith("--block 256")
    hopeless = cost.judge_stalls([(1.0, 1.1)] * 3, 2.0, 128, 48000, 8)
    assert hopeless.level == "stop" and "--slack" not in hopeless.mend


@pytest.mark.parametrize(
    ("p99", "slack", "cure"), [(3000, 0, "--slack 1 or "), (9000, 0, "--slack 3 or "), (90000, 0, "--block")]
)
def test_a_late_model_is_offered_the_slack_that_forgives_it(p99: float, slack: int, cure: str) -> None:
    finding = cost.judge_domain("piano", {"mean_us": 500, "p99_us": p99}, 128, 48000, slack)
    assert finding.level == "stop" and finding.mend.startswith(cure)


@pytest.mark.slow
def test_the_model_is_measured_through_the_real_path(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "fake.umtn")
    figures = cost.measure(bundle, "onnx", 48000, 128)
    assert list(figures["domains"]) == ["strings", "piano"]
    for domain in figures["domains"].values():
        assert 1 < domain["mean_us"] < 100_000 and domain["mean_us"] <= domain["longest_us"]
    assert figures["model_block_s"] == pytest.approx(128 / 24000)
    assert 0 < figures["encode_s"] < 0.1 and 0 < figures["decode_s"] < 0.1 and 2 < figures["own_ms"] < 10


def test_a_bundle_that_computes_wrongly_is_said_so(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "wrong.umtn", wrong_probe=True)
    with pytest.raises(ValueError, match="wrongly on this machine"):
        cost.measure(bundle, "onnx", 48000, 128)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--block", "4"], "--block: takes a whole number from 32 to 4096"),
        (["--rate", "3"], "--rate: takes a whole number from 8000 to 192000"),
        (["--osc-port", "70000"], "--osc-port: takes a whole number from 0 to 65535"),
        (["--bundle", "livve"], "did you mean live?"),
        (["--block", "x"], "takes a number, but 'x' came"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ") and sentence in text and text.count("\n") == 1


def _visit(bundle: Path, **environment: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "realtime.doctor", "--json", "--bundle", str(bundle), "--osc-port", "0"]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=90, check=False, env={**os.environ, **environment}
    )
    assert run.returncode in (0, 1), run.stderr
    return run.returncode, json.loads(run.stdout)


@pytest.mark.jackd
def test_a_visit_with_a_real_sound_server(tmp_path: Path) -> None:
    pytest.importorskip("jack")
    from benchmarks.jack import jack_server

    bundle = write_fake_bundle(tmp_path / "fake.umtn")
    with jack_server(128):
        code, report = _visit(bundle)
    by_topic: dict[str, list[dict[str, str]]] = {}
    for finding in report["findings"]:
        by_topic.setdefault(finding["topic"], []).append(finding)
    assert [f["level"] for f in by_topic["devices"]] == ["ok", "ok"]
    assert by_topic["server"][0]["text"].startswith("JACK Audio Connection Kit is used")
    assert by_topic["latency"][0]["text"].split()[1] == "ms"
    assert code == int(report["stop"]) == int(any(f["level"] == "stop" for f in report["findings"]))
    assert set(by_topic) >= {"packages", "rights", "disk", "MIDI", "ports", "engines", "model", "stalls"}
