"""A checkpoint: a folder of weights (safetensors) and readable JSON, replaced in one piece.

    NAME/checkpoint.json            format, config, step, minutes trained, loss curve, SHA-256 of the weights
    NAME/weights-<step>.safetensors     averaged (EMA) weights: what is exported and played
    NAME/training-<step>.safetensors    raw weights, optimiser moments, random state: what `--resume` needs

Equal tensors are stored once (decoders that share their weights); the file's header says which names are meant.
checkpoint.json is replaced last and names the files it belongs to: a kill at any moment leaves either the old
checkpoint or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from umtn.errors import UserError
from umtn.files import write_atomically
from umtn.model.config import Config
from umtn.model.translator import Translator

__all__ = ["Progress", "load", "load_training", "save", "shipped"]

FORMAT, VERSION = "umtn-checkpoint", 2


@dataclass
class Progress:
    """How far a training run has come; `curve` holds rows {step, minutes, loss, ...}.

    `earlier`: the same of the runs that made the model which this one began with.
    """

    step: int = 0
    minutes: float = 0.0
    seed: int = 0
    data: str = ""
    hardware: str = ""
    curve: list[dict[str, float]] = field(default_factory=list)
    earlier: list[dict[str, Any]] = field(default_factory=list)


def _write(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write tensors durably; -> SHA-256 of the file."""
    first: dict[tuple[Any, ...], str] = {}
    stored: dict[str, Tensor] = {}
    same: dict[str, str] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        content = hashlib.sha256(value.view(-1).view(torch.uint8).numpy().tobytes()).digest()
        original = first.setdefault((content, value.dtype, value.shape), name)
        if original == name:
            stored[name] = value
        else:
            same[name] = original
    save_file(stored, path, metadata=same or None)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(
    folder: Path, config: Config, weights: dict[str, Tensor], training: dict[str, Tensor], progress: Progress
) -> None:
    """Write a checkpoint atomically; the one before it stays whole until this one is."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"weights": f"weights-{progress.step}.safetensors"}
    hashes = {"weights": _write(folder / names["weights"], weights)}
    if training:
        names["training"] = f"training-{progress.step}.safetensors"
        hashes["training"] = _write(folder / names["training"], training)
    record = {
        "format": FORMAT,
        "version": VERSION,
        "files": names,
        "sha256": hashes,
        "progress": progress.__dict__,
        "config": json.loads(config.to_json()),
    }
    write_atomically(folder / "checkpoint.json", json.dumps(record, indent=1).encode())
    for old in folder.glob("*.safetensors"):
        if old.name not in names.values():
            old.unlink()


def shipped(config: Config, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights, a WaveNet's in 16 bits, so that checkpoint and bundle are half as large."""
    if not config.decoder.sampled:
        return weights
    return {
        name: value.half()
        if name.startswith("decoders.") and ".guide." not in name and value.is_floating_point()
        else value
        for name, value in weights.items()
    }


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "checkpoint.json"
    if not path.is_file():
        raise UserError(
            f"'{folder}' is not a checkpoint: it holds no checkpoint.json. Was another folder meant?"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is not a checkpoint of this program: {error}.") from None
    if record["version"] > VERSION:
        raise UserError(
            f"'{folder}' was written by a newer version (format {record['version']}, known {VERSION})."
        )
    return record  # type: ignore[no-any-return]


def _tensors(folder: Path, record: dict[str, Any], kind: str) -> dict[str, Tensor]:
    if kind not in record.get("files", {}):
        raise UserError(f"'{folder}' holds no {kind} state: it can be played and exported, not resumed.")
    path = folder / record["files"][kind]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from None
    if hashlib.sha256(content).hexdigest() != record["sha256"][kind]:
        raise UserError(f"'{path}' is damaged: its hash is not the one in checkpoint.json.")
    try:
        with safe_open(path, "pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            same: dict[str, str] = file.metadata() or {}
        return stored | {name: stored[original].clone() for name, original in same.items()}
    except (SafetensorError, KeyError) as error:
        raise UserError(f"'{path}' is not a safetensors file: {error}.") from None


def read_config(folder: str | Path) -> tuple[Config, Progress]:
    """Only the config and progress of a checkpoint."""
    record = _record(Path(folder))
    return Config.from_json(json.dumps(record["config"])), Progress(**record["progress"])


def load(folder: str | Path) -> Translator:
    """The translator with its averaged weights, in evaluation mode."""
    folder = Path(folder)
    record = _record(folder)
    translator = Translator(Config.from_json(json.dumps(record["config"])))
    fit(translator, _tensors(folder, record, "weights"), folder)
    return translator.eval()


def load_training(folder: Path) -> tuple[Config, Progress, dict[str, Tensor], dict[str, Tensor]]:
    """Config, progress, averaged weights and training state, for `--resume`."""
    record = _record(folder)
    config = Config.from_json(json.dumps(record["config"]))
    progress = Progress(**record["progress"])
    return config, progress, _tensors(folder, record, "weights"), _tensors(folder, record, "training")


def fit(module: torch.nn.Module, tensors: dict[str, Tensor], where: Path) -> None:
    """Load weights; UserError names the first that does not belong."""
    wanted = module.state_dict()
    for name in sorted(set(wanted) ^ set(tensors)):
        side = "misses" if name in wanted else "has a foreign"
        raise UserError(f"'{where}' {side} weight '{name}': it belongs to another preset or version.")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise UserError(
                f"'{where}': weight '{name}' is {list(tensor.shape)}, this preset wants {list(wanted[name].shape)}."
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"'{where}': weight '{name}' is not finite: the training went wrong before it was saved."
            )
    module.load_state_dict(tensors)
