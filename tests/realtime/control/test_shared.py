"""Shared memory between real processes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable

import pytest

from realtime.shared.memory import LAYOUT, SharedState, SharedStateError
from realtime.shared.parameters import FAMILIES, with_domains

SPAWN = multiprocessing.get_context("spawn")


def _answer(name: str) -> None:
    """Child: mirror a parameter into a status until told to stop."""
    state = SharedState.attach(name)
    while not state.stop_flag:
        state.status_set("load", state.get("mix"))
        state.heartbeat += 1
    state.close()


def _hammer(name: str) -> None:
    """Child: write two bit patterns that share no byte."""
    state = SharedState.attach(name)
    while not state.stop_flag:
        state.status_set("load", 1.0)
        state.status_set("load", -1.2345678901234567e-89)
    state.close()


def _run(target: Callable[[str], None], shared: SharedState) -> multiprocessing.process.BaseProcess:
    process = SPAWN.Process(target=target, args=(shared.name,))
    process.start()
    return process


def test_defaults_and_names(shared: SharedState) -> None:
    for parameter in with_domains(("a", "b")):
        if parameter.kind != "action":
            assert shared.get(parameter.stored) == parameter.default
    for family in FAMILIES:
        assert shared.get(f"{family.name}/{family.count - 1}") == family.default
    assert shared.parameters.ctypes.data % 8 == shared.status.ctypes.data % 8 == 0
    with pytest.raises(KeyError):
        shared.get("nothing")


def test_values_cross_both_ways(shared: SharedState) -> None:
    process = _run(_answer, shared)
    try:
        while shared.heartbeat == 0:
            assert process.is_alive()
        for value in (0.25, 0.5, 0.75):
            shared.set("mix", value)
            beat = shared.heartbeat
            while shared.heartbeat < beat + 3:
                assert process.is_alive()
            assert shared.status_get("load") == value
    finally:
        shared.stop_flag = True
        process.join(5)
    assert process.exitcode == 0


def test_no_value_is_ever_seen_half_written(shared: SharedState) -> None:
    process = _run(_hammer, shared)
    try:
        while shared.status_get("load") == 0.0:
            assert process.is_alive()
        seen = {shared.status_get("load") for _ in range(200_000)}
    finally:
        shared.stop_flag = True
        process.join(5)
    assert seen == {1.0, -1.2345678901234567e-89}


def test_a_foreign_process_that_attaches_leaves_it_and_warns_of_nothing(shared: SharedState) -> None:
    """On Python 3.11 an attachment was registered for removal, and vanished with the first reader."""
    code = f"from realtime.shared.memory import SharedState as S; print(S.attach({shared.name!r}).get('crossfade_ms'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("60.0", "")
    again = SharedState.attach(shared.name)
    again.set("mix", 0.5)
    assert shared.get("mix") == 0.5
    again.close()
    again.close()


def test_unlinked_memory_cannot_be_attached() -> None:
    state = SharedState.create()
    name = state.name
    state.close()
    state.unlink()
    state.unlink()
    with pytest.raises(SharedStateError, match=name):
        SharedState.attach(name)


def test_another_layout_is_refused(shared: SharedState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.shared.memory.LAYOUT", LAYOUT + 1)
    with pytest.raises(SharedStateError, match="layout"):
        SharedState.attach(shared.name)
