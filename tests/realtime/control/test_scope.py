"""The spectrogram's columns: right bands, right levels, nothing torn, nothing invented."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.control.web.page_state import BANDS, COLUMNS_HZ, FLOOR_DB, Scope, band_edges_hz, band_matrix
from realtime.shared.memory import SCOPE_FRAMES, SharedState


def feed(shared: SharedState, hz: float, seconds: float, rate: float, amplitude: float = 1.0) -> None:
    """A sine as input, silence as output, in blocks of 480."""
    t = np.arange(int(seconds * rate)) / rate
    sine = (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)
    for block in np.split(sine, range(480, len(sine), 480)):
        shared.scope_write(block, np.zeros_like(block))


@pytest.mark.parametrize("rate", [22050, 48000, 96000])
@pytest.mark.parametrize("hz", [82.4, 440.0, 5000.0])
def test_a_sine_is_the_brightest_in_its_own_band(shared: SharedState, rate: int, hz: float) -> None:
    shared.status_set("rate", rate)
    scope = Scope(shared)
    scope.columns()
    feed(shared, hz, 0.3, rate, 0.5)
    column = np.frombuffer(scope.columns()[-1], np.uint8)
    heard, said = column[:BANDS], column[BANDS:]
    edges = band_edges_hz(rate)
    own = int(np.searchsorted(edges, hz)) - 1
    # In the bass a bin is wider than a band, so that neighbours are as bright.
    blur = int(np.ceil(rate / 2 ** round(np.log2(rate * 0.085)) / (edges[own + 1] - edges[own])))
    assert abs(int(heard.argmax()) - own) <= blur
    level_db = FLOOR_DB * (1 - int(heard[own]) / 255)
    assert level_db == pytest.approx(-6.0, abs=3.0)
    assert not said.any()


def test_columns_come_at_their_rate_and_a_late_looker_misses_some(shared: SharedState) -> None:
    shared.status_set("rate", 48000)
    scope = Scope(shared)
    scope.columns()
    count = 0
    for _ in range(50):
        feed(shared, 440.0, 0.02, 48000)
        count += len(scope.columns())
    assert count == pytest.approx(COLUMNS_HZ, abs=1)
    feed(shared, 440.0, 1.0, 48000)
    assert len(scope.columns()) == 4


def test_without_sound_there_are_no_columns(shared: SharedState) -> None:
    scope = Scope(shared)
    assert scope.columns() == []  # the rate is not known yet
    shared.status_set("rate", float("nan"))
    assert scope.columns() == []
    shared.status_set("rate", 48000)
    scope.columns()
    assert scope.columns() == []


def test_a_restarted_audio_process_is_followed(shared: SharedState) -> None:
    """Its count may start at 0 again, or jump; the picture goes on."""
    shared.status_set("rate", 48000)
    scope = Scope(shared)
    feed(shared, 440.0, 0.5, 48000)
    scope.columns()
    shared._header[4] = 0
    feed(shared, 440.0, 0.1, 48000)
    assert scope.columns()


def test_what_is_not_finite_is_black(shared: SharedState) -> None:
    shared.status_set("rate", 48000)
    scope = Scope(shared)
    scope.columns()
    bad = np.full(4800, np.nan, np.float32)
    shared.scope_write(bad, bad * np.inf)
    assert all(len(c) == 2 * BANDS for c in scope.columns())


def test_overwritten_sound_is_not_shown(shared: SharedState, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.status_set("rate", 48000)
    scope = Scope(shared)
    feed(shared, 440.0, 0.2, 48000)
    end = shared.scope_written
    shared._header[4] = end + SCOPE_FRAMES
    assert scope._rate == 0.0
    scope.columns()
    assert scope._column(end) == b""


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_every_band_hears_something(rate: int) -> None:
    assert (band_matrix(rate, 4096).max(axis=1) > 0).all()
