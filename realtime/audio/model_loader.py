"""Another bundle while the old one plays: loaded, proved and warmed beside the music, then handed over.

Threading model: `Loader` belongs to the main thread of the audio process, its work to a thread "loader". The
audio thread finds `worker.incoming` and lets it take over (player.py); the old path is freed by the main thread.
"""

from __future__ import annotations

import hashlib
import statistics
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.bundle import Bundle
from realtime.audio.block_processor import Worker
from realtime.dsp.controls import Controls, DomainMap, fill
from realtime.dsp.model_crossfade import Incoming
from realtime.dsp.signal_path import SignalPath
from realtime.engines import Engine, load_engine
from realtime.recording.snapshot import Plan, polite
from realtime.shared.messages import LoadFailed, PlayingBundle, Swapped
from realtime.shared.scheduling import step_back

__all__ = ["FileHash", "Loader", "describe", "free", "same_again"]


# Threads beside the music: they yield to the audio thread and to nobody else.
#
# Not to normal priority: such a thread may be put aside by any other program while it holds the interpreter, and
# then the audio thread waits with it.


STEP_PAUSE_S = 0.003


def free(roots: list[Any]) -> None:
    """Let go of the objects in `roots`, which is emptied, part by part: a session of ONNX Runtime takes a
    millisecond to die and keeps the interpreter for it; six of them at once would be heard.
    """
    while roots:
        root = roots.pop(0)
        parts = Plan(root, polite()).parts()
        del root
        parts.reverse()  # parents first: what they hold dies one by one after them
        while parts:
            heavy = type(parts[-1]).__module__.startswith("onnxruntime")
            parts.pop()
            if heavy:
                time.sleep(STEP_PAUSE_S)


WARM_CALLS = 40
ROOM = 0.85  # of the time, for two paths at once; beyond it one fades out before the other fades in
SLOW = 0.9  # of the calls are quicker than a slow one
PAUSE_S = 0.002


class FileHash:
    """SHA-256 of a file, computed beside everything else; `text` waits for it."""

    def __init__(self, path: Path) -> None:
        self._path, self._text = path, ""
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        step_back()
        try:
            with self._path.open("rb") as file:
                self._text = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            self._text = ""  # gone since: whoever replays will be told that the bundle is another one

    @property
    def text(self) -> str:
        self._thread.join()
        return self._text


def describe(path: SignalPath, bundle: Path) -> PlayingBundle:
    """What is told about a bundle that plays."""
    manifest = path.engine.manifest
    return PlayingBundle(
        name=manifest.name,
        path=str(bundle),
        engine=path.engine.name,
        engine_choice=str(getattr(path.engine, "choice", "")),
        engine_hint=path.engine.hint,
        domains=tuple(domain.id for domain in manifest.domains),
        latent_channels=manifest.latent_channels,
        model_rate=manifest.sample_rate,
        model_block=manifest.block,
        room=path.room,
        can_transpose=path.can_transpose,
        has_temperature=any(
            port.name == "temperature" for graph in manifest.graphs.values() for port in graph.inputs
        ),
    )


def same_again(engine: Engine) -> dict[str, str]:
    """What the journal of a recording notes, for a replay to load this engine again."""
    return {"engine": engine.name, "precision": str(getattr(engine, "precision", "auto"))}


def _let_go(gone: list[Any]) -> None:
    step_back()
    free(gone)


class Loader:
    """`start` begins to load, `poll` (often) carries it on; its messages are for the control process.

    engine: the name that was asked for, "auto" too. blocks: how many a call has time for (more than 1 a block ahead).
    """

    def __init__(
        self,
        worker: Worker,
        engine: str,
        bundle: Path,
        blocks: float = 1.0,
        precision: str = "auto",
        cores: int = 1,
    ) -> None:
        self._worker, self._blocks = worker, blocks
        self._load = partial(load_engine, name=engine, precision=precision, cores=cores)
        self.bundle, self.hash = bundle, FileHash(bundle)
        self._thread: threading.Thread | None = None
        self._result: Incoming | str | None = None
        self._waiting: Incoming | None = None
        self._waiting_hash: FileHash | None = None
        self._wanted = bundle
        self._swaps = 0

    @property
    def busy(self) -> bool:
        return self._thread is not None or self._waiting is not None

    def start(self, path: Path) -> str | None:
        """Begin; a sentence if that is not possible now."""
        if self.busy:
            return f"{self._wanted.name} is still being loaded; {path.name} was not"
        self._wanted, self._result = path, None
        self._waiting_hash = FileHash(path)
        self._thread = threading.Thread(target=self._run, args=(path,), name="loader", daemon=True)
        self._thread.start()
        return None

    def poll(self) -> list[Swapped | LoadFailed]:
        """Messages since the last call; also frees what no longer plays."""
        if self._worker.retired:
            gone = [self._worker.retired.popleft()]
            threading.Thread(target=_let_go, args=(gone,), name="free", daemon=True).start()
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            return self._loaded()
        if self._waiting is not None and self._worker.player.path is self._waiting.path:
            return self._swapped(self._waiting)
        return []

    def _loaded(self) -> list[Swapped | LoadFailed]:
        result, self._result = self._result, None
        if isinstance(result, Incoming):
            self._waiting = self._worker.incoming = result
            return []
        return [LoadFailed(f"{result}; {self.bundle.name} plays on")]

    def _swapped(self, incoming: Incoming) -> list[Swapped | LoadFailed]:
        assert self._waiting_hash is not None
        self.bundle, self.hash, self._waiting = self._wanted, self._waiting_hash, None
        return [Swapped(describe(incoming.path, self.bundle))]

    # In the thread "loader"

    def _run(self, path: Path) -> None:
        step_back()
        try:
            self._result = self._prepare(path)
        except ValueError as error:  # UserError, BundleError: a sentence each
            self._result = str(error)
        except Exception as error:
            self._result = f"{path.name} cannot be loaded ({type(error).__name__}: {error})"

    def _prepare(self, path: Path) -> Incoming:
        worker = self._worker
        bundle = Bundle.open(path)
        time.sleep(PAUSE_S)
        engine = self._load(bundle)
        time.sleep(PAUSE_S)
        old = worker.path.engine.manifest
        domains = [domain.id for domain in bundle.manifest.domains]
        same_latent = old.latent_channels == bundle.manifest.latent_channels
        map_ = DomainMap([domain.id for domain in old.domains], domains, same_latent)
        controls = Controls()
        cells = worker.cells.copy()
        fill(controls, cells)
        map_.apply(controls, cells)
        block = worker.block_length
        new = SignalPath(engine, worker.path.rate_hz, block, controls, self._blocks)
        overlap = self._both_fit(self._warm(new, block), block / worker.path.rate_hz)
        plan = Plan(new, polite())
        plan.capture()
        about = {"bundle": str(path), "sha256": self._waiting_hash.text if self._waiting_hash else ""}
        return Incoming(new, map_, overlap, about | same_again(engine), plan)

    def _both_fit(self, times: list[float], block_s: float) -> bool:
        """Whether there is time for two paths, all calls together and the slow ones (which hold a model's block)."""
        worker = self._worker
        mean = worker.load + statistics.mean(times) / block_s
        slow = worker.timing.percentile_us(SLOW) / 1e6 + times[int(SLOW * len(times))]
        return not worker.paced or (mean < ROOM and slow < ROOM * self._blocks * block_s)

    def _warm(self, path: SignalPath, block: int) -> list[float]:
        """Run everything a few times; leaves a fresh path and returns the seconds that calls took, sorted."""
        x, out, times = np.zeros(block, np.float32), np.zeros(block, np.float32), []
        for _ in range(WARM_CALLS):
            start = time.perf_counter()
            path.process(x, out)
            times.append(time.perf_counter() - start)
            time.sleep(PAUSE_S)
        path.start_over()
        return sorted(times[WARM_CALLS // 4 :])
