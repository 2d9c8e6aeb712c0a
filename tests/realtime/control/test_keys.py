"""Single keys: what they do, and that the terminal is as it was before, however it ends. A real terminal (pty)."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from realtime.control.namespace import Namespace
from realtime.control.presets.presets import Presets
from realtime.control.terminal.keyboard import Keys, NoKeyboard, WindowsKeyboard, open_keyboard, split_keys
from realtime.shared.memory import SharedState
from tests.realtime.control.oscclient import eventually

ROOT = Path(__file__).parents[3]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX terminal")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def keys(namespace: Namespace, said: list[str], tmp_path: Path) -> Keys:
    presets = Presets(namespace, tmp_path / "presets")
    return Keys(namespace, lambda: said.append("quit"), said.append, presets.save_new, NoKeyboard())


def test_what_keys_do(namespace: Namespace, shared: SharedState, keys: Keys, said: list[str]) -> None:
    for key, name, value in (
        ("3", "to", 2), ("1", "to", 0), ("left", "mix", 0.95), ("left", "mix", 0.9), ("right", "mix", 0.95),
        ("right", "mix", 1.0), ("right", "mix", 1.0), ("up", "output/gain_db", 1), ("down", "output/gain_db", 0),
        ("f", "freeze", 1), ("f", "freeze", 0), ("b", "bypass", 1), ("m", "mute", 1), ("p", "panic", 1),
    ):  # fmt: skip
        keys.press(key)
        assert shared.get(name) == value, key
    assert said == []
    keys.press("9")
    assert said == ["there is no domain 9; there are 1 strings, 2 piano, 3 winds"]
    for key in ("x", "\r", "\x00", "\n", "ä", "", "home"):
        keys.press(key)
    keys.press("q")
    assert said[1:] == ["quit"]
    keys.press("?")
    assert "freeze" in said[2] and "quit" in said[3]


def test_presets_and_recording_by_key(
    namespace: Namespace, shared: SharedState, keys: Keys, said: list[str]
) -> None:
    keys.press("S")
    assert "no preset is recalled yet" in said.pop()
    for _ in range(2):
        keys.press("s")
    assert said == ["saved as Preset 1", "saved as Preset 2"]
    keys.press("S")
    assert said.pop() == "saved as Preset 2"
    keys.press("u")
    keys.press("u")
    assert "nothing to undo" in said.pop()
    keys.press("n")
    assert namespace.texts["preset"] == "Preset 1"
    keys.press("N")
    assert "first preset" in said.pop()
    keys.press("r")
    assert "not available" in said.pop()
    asked: list[object] = []
    namespace.actions["record"] = lambda on: asked.append(on) or ""  # type: ignore[func-returns-value]
    keys.press("r")
    shared.status_set("recording", 3.0)
    keys.press("r")
    assert asked == [True, False]


def test_a_fault_behind_a_key_is_told_and_survived(
    namespace: Namespace, shared: SharedState, said: list[str]
) -> None:
    def fail(_: object) -> str:
        raise RuntimeError("oops")

    namespace.actions["record"] = fail
    keys = Keys(namespace, lambda: None, said.append, None, SimpleNamespace(read=lambda: list("rf")))  # type: ignore
    keys.poll()
    assert said == ["the key r failed inside the program (RuntimeError: oops)"]
    assert shared.get("freeze") == 1.0


@pytest.mark.parametrize(
    ("text", "keys", "rest"),
    [
        ("ab", ["a", "b"], ""),
        ("\x1b[A\x1b[B\x1bOC\x1b[Dq", ["up", "down", "right", "left", "q"], ""),
        ("q\x1b", ["q"], "\x1b"),
        ("\x1b[", [], "\x1b["),
        ("\x1b[1;5Ax", ["x"], ""),
        ("\x1b[15~\x1bp", [], ""),
        ("\x1b\x1b[A", ["up"], ""),
        ("\x1b[200~pasted", list("pasted"), ""),
    ],
)
def test_what_a_terminal_sends(text: str, keys: list[str], rest: str) -> None:
    assert split_keys(text) == (keys, rest)


def test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = list("q\xe0H\x00K\xe0;x")
    console = SimpleNamespace(kbhit=lambda: bool(typed), getwch=lambda: typed.pop(0))
    monkeypatch.setitem(sys.modules, "msvcrt", console)
    assert WindowsKeyboard().read() == ["q", "up", "left", "x"]


def test_no_terminal() -> None:
    with open(os.devnull) as stream:
        assert isinstance(open_keyboard(stream), NoKeyboard)
    assert isinstance(open_keyboard(stream), NoKeyboard)  # closed


class Terminal:
    """The program in a terminal of its own, and what a user sees and types there."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        import pty
        import termios

        self.master, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (40, 160))
        self.before = termios.tcgetattr(self._slave)
        command = [sys.executable, "-m", "tests.realtime.control.stagehand", str(folder), *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=self._slave, stdout=self._slave, stderr=self._slave, start_new_session=True,
            preexec_fn=lambda: _take_terminal(0),
        )  # fmt: skip
        self.text = ""

    def now(self) -> list[object]:
        import termios

        return termios.tcgetattr(self._slave)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def shows(self, *parts: str, timeout_s: float = 10.0) -> bool:
        """Whether all of these come onto the screen."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            while select.select([self.master], [], [], 0.02)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode("utf-8", "replace")
                except OSError:
                    break
            if all(part in self.text[-3000:] for part in parts):
                return True
        return False

    def ends(self) -> int:
        """Exit code; what it still writes is read, as a terminal does."""
        deadline = time.monotonic() + 15
        while self.process.poll() is None and time.monotonic() < deadline:
            self.shows("\x00", timeout_s=0.05)
        return self.process.wait(1)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
        os.close(self._slave)


def _take_terminal(fd: int) -> None:
    """In the child: the terminal becomes that of its session."""
    import fcntl
    import termios

    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        made.append(Terminal(tmp_path / "presets", *arguments))
        return made[-1]

    yield start
    for t in made:
        t.close()


@pytest.mark.slow
@POSIX
def test_playing_by_keys_in_a_terminal(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    t = terminal()
    assert t.shows("set strings", "mix 0.25", "xruns 0", "-20.0 dB"), t.text
    t.type("2")
    assert t.shows("set piano", "to piano")
    t.type("\x1b[C\x1b[C\x1b[A")
    assert t.shows("mix 0.35", "out +1.0 dB")
    t.type("fbm")
    assert t.shows("to piano  FREEZE  BYPASS  MUTE  latency")
    t.type("s")
    assert t.shows("saved as Preset 1") and t.shows("Preset 1: set piano")
    t.type("?")
    assert t.shows("q quit")
    t.type("9" * 5000)  # a cat on the keyboard
    assert t.shows("there is no domain 9")
    t.type("\x13\x1a\x1c")  # Ctrl-S, Ctrl-Z, Ctrl-\
    t.type("mf")
    assert t.shows("to piano  BYPASS  latency")
    assert t.now() != t.before
    t.type("q")
    assert t.ends() == 0
    assert t.now() == t.before
    assert (tmp_path / "presets" / "Preset 1.toml").exists()


@POSIX
@pytest.mark.parametrize("way", ["q", "\x03", "SIGTERM", "SIGHUP", "fail"])
def test_the_terminal_is_given_back(terminal: Callable[..., Terminal], way: str) -> None:
    t = terminal(*(["fail"] if way == "fail" else []))
    assert t.shows("set strings", "mix 0.25"), t.text
    assert eventually(lambda: t.now() != t.before)
    if way.startswith("SIG"):
        os.kill(t.process.pid, getattr(signal, way))
    else:
        t.type("\x1b[D\x1b[D" if way == "fail" else way)
    code = t.ends()
    assert t.now() == t.before, way
    assert code == (1 if way == "fail" else 0)


@POSIX
def test_in_the_background_the_terminal_is_left_alone(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """A reader in the background would be stopped by the system, and the music with it."""
    import termios

    master, slave = os.openpty()
    script = (
        f"import subprocess, sys, os; p = subprocess.Popen([{sys.executable!r}, '-m',"
        f" 'tests.realtime.control.stagehand', {str(tmp_path)!r}], process_group=0);"
        "print('pid', p.pid, flush=True); p.wait()"
    )
    before = termios.tcgetattr(slave)
    shell = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True, preexec_fn=lambda: _take_terminal(0),
    )  # fmt: skip
    text = ""
    try:
        deadline = time.monotonic() + 15
        while text.count("set strings") < 5 and time.monotonic() < deadline:
            if select.select([master], [], [], 0.1)[0]:
                text += os.read(master, 65536).decode("utf-8", "replace")
        assert text.count("set strings") >= 5, text  # it plays and draws
        assert termios.tcgetattr(slave) == before
        os.write(master, b"2")
        time.sleep(0.3)
        assert "set piano" not in os.read(master, 65536).decode("utf-8", "replace")
        os.kill(int(text.split("pid ")[1].split()[0]), signal.SIGTERM)
        while shell.poll() is None and time.monotonic() < deadline:
            if select.select([master], [], [], 0.1)[0]:
                os.read(master, 65536)
        assert shell.poll() == 0
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        os.close(master)
        os.close(slave)
