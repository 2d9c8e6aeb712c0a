"""Does a change click? The largest step between two samples while things change, beside the steady sound's.

Offline and to the sample: the worker that the audio thread runs, on the built-in clip, with the parameters in
shared memory as OSC sets them. A change may not make a larger step than the sounds that it joins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from realtime.audio.block_processor import Worker
from realtime.audio.sound_files import DEMO, FileSource
from realtime.dsp.signal_path import SignalPath
from realtime.shared.memory import PARAMETER_INDEX, SharedState

__all__ = ["switches"]

RATE_HZ = 48000
SECONDS = 6.0  # of the clip, for each steady sound and for each kind of change
LEAD_S = 0.5  # not looked at: the model fills
EVERY_S = 0.25
SWAP_EVERY_S = 1.0

Setting = dict[str, float]
Change = Callable[[int], None]


class _Rig:
    """A worker without a device: `run` plays the clip and returns the largest step between two samples."""

    def __init__(self, bundle: Path, engine: str, block: int, shared: SharedState, seconds: float) -> None:
        from export.bundle.bundle import Bundle

        self._load = lambda path: _engine(path, engine)
        self.domains = [d.id for d in Bundle.open(bundle).manifest.domains]
        self._block, self.shared = block, shared
        self._defaults = shared.parameters.copy()
        source = FileSource(DEMO, RATE_HZ)
        clip = np.zeros(source.frames, np.float32)
        source.read(clip)
        source.close()
        self.swaps = int(seconds / SWAP_EVERY_S) + 1
        blocks = int((LEAD_S + seconds) * RATE_HZ) // block
        self._clip = np.resize(clip, blocks * block).reshape(blocks, block)
        self.worker = Worker(SignalPath(self._load(bundle), RATE_HZ, block), shared, paced=False)

    def set(self, setting: Setting) -> None:
        """Everything at its default but these."""
        values = self._defaults.copy()
        values[PARAMETER_INDEX["panic"]] = self.shared.get("panic")  # a count, not a value
        for name, value in setting.items():
            values[PARAMETER_INDEX[name]] = value
        self.shared.parameters[:] = values

    def run(self, change: Change | None = None, every_s: float = EVERY_S) -> float:
        """From a fresh path; `change(i)` is called every so often."""
        self.worker.path.start_over()
        every, lead = int(every_s * RATE_HZ) // self._block, int(LEAD_S * RATE_HZ) // self._block
        largest, last = 0.0, 0.0
        for i, x in enumerate(self._clip):
            if change is not None and i >= lead and (i - lead) % every == 0:
                change((i - lead) // every)
            out = self.worker.block(x, self._block)
            if i >= lead:
                largest = max(largest, float(np.abs(np.diff(out)).max()), abs(float(out[0]) - last))
            last = float(out[-1])
        return largest

    def incoming(self, bundle: Path) -> Any:
        """Another path with the same parameters, ready to take over."""
        from realtime.dsp.controls import DomainMap
        from realtime.dsp.model_crossfade import Incoming

        path = SignalPath(self._load(bundle), RATE_HZ, self._block)
        domains = [d.id for d in path.engine.manifest.domains]
        return Incoming(path, DomainMap(self.domains, domains, True))


def _engine(bundle: Path, name: str) -> Any:
    from export.bundle.bundle import Bundle
    from realtime.engines import load_engine

    return load_engine(Bundle.open(bundle), name, seed=0)


def _blends(count: int) -> list[Setting]:
    """A pad moved between its corners: two domains, one more than the other, then all."""
    some = [{f"blend/{i}": 1.0, f"blend/{(i + 1) % count}": 0.5} for i in range(count)]
    return [*some, {f"blend/{i}": 1.0 for i in range(count)}]


def _presets(count: int) -> list[Setting]:
    """Many parameters at once, as a recall without glide sets them; none louder than the default."""
    return [
        {},
        {"to": float(count > 1), "mix": 0.4, "output/gain_db": -6.0},
        {"to": float(count - 1), "input/gain_db": -9.0, "latent/scale/0": 0.5, "transpose": -5.0},
        {"mix": 0.0, "output/gain_db": -3.0, "input/gate_db": -40.0},
        {"bypass": 1.0, "to": float(count // 2)},
    ]


@contextmanager
def _memory() -> Iterator[SharedState]:
    shared = SharedState.create()
    try:
        yield shared
    finally:
        shared.unlink()
        shared.close()


def switches(
    bundle: Path, engine: str = "onnx", block: int = 256, seconds: float = SECONDS, other: Path | None = None
) -> dict[str, Any]:
    """kind -> largest step: steady (of any of the sounds joined), changing, and their ratio; at most 1 is wanted.

    other: the bundle to change to and back (default: the same one).
    """
    with _memory() as shared:
        rig = _Rig(bundle, engine, block, shared, seconds)
        count = len(rig.domains)
        kinds = {
            "domain switch": [{"to": float(i)} for i in range(count)],
            "blend": _blends(count),
            "preset recall": _presets(count),
        }
        figures = {kind: _between(rig, settings) for kind, settings in kinds.items()}
        rig.set({})
        steady = rig.run()
        figures["freeze"] = _figure(steady, rig.run(lambda i: shared.set("freeze", float(i % 2 == 0))))
        rig.set({})
        figures["panic"] = _figure(steady, rig.run(lambda i: shared.set("panic", shared.get("panic") + 1)))
        figures["hot swap"] = _hot_swap(rig, bundle, other or bundle, steady)
        return figures


def _between(rig: _Rig, settings: list[Setting]) -> dict[str, float]:
    """Each setting by itself, then one after the other."""
    steady = 0.0
    for setting in settings:
        rig.set(setting)
        steady = max(steady, rig.run())
    rig.set(settings[0])
    return _figure(steady, rig.run(lambda i: rig.set(settings[i % len(settings)])))


def _hot_swap(rig: _Rig, bundle: Path, other: Path, steady: float) -> dict[str, Any]:
    """To the other bundle and back, once a second."""
    paths = (other, bundle)
    ready = [rig.incoming(paths[i % 2]) for i in range(rig.swaps)]
    if other != bundle:
        rig.worker.incoming = rig.incoming(other)
        rig.run()
        steady = max(steady, rig.run())
        rig.worker.incoming = rig.incoming(bundle)
        rig.run()

    def change(i: int) -> None:
        if i < len(ready):
            rig.worker.incoming = ready[i]

    before = rig.worker.player.swaps
    figure = _figure(steady, rig.run(change, SWAP_EVERY_S))
    return {**figure, "swaps": rig.worker.player.swaps - before}


def _figure(steady: float, changing: float) -> dict[str, float]:
    return {
        "steady": round(steady, 4),
        "changing": round(changing, 4),
        "ratio": round(changing / max(steady, 1e-9), 3),
    }
