"""Weights of the judges: small safetensors files beside this module, with how they were made inside."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from umtn.errors import UserError

__all__ = ["ASSETS", "load_judge", "metadata", "save_judge"]

ASSETS = Path(__file__).parent / "assets"


def save_judge(judge: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write weights in half precision with their metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    save_file({k: v.half().contiguous() for k, v in judge.state_dict().items()}, beside, metadata)
    beside.replace(path)


def metadata(path: Path) -> dict[str, str]:
    """How the weights in a file were made; UserError when it is missing or holds no weights."""
    if not path.is_file():
        raise UserError(f"the judge's weights '{path}' are missing; make them with `umtn train-judge`")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise UserError(f"'{path}' does not hold a judge's weights: {error}") from None


def load_judge(judge: nn.Module, path: Path | None, asset: str) -> dict[str, str]:
    """Fill a judge from a file (default: the one in the program); -> its metadata."""
    path = path or ASSETS / asset
    made = metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            judge.load_state_dict({k: file.get_tensor(k).float() for k in file.keys()})  # noqa: SIM118
    except RuntimeError as error:
        raise UserError(f"'{path}' does not hold this judge's weights: {error}") from None
    return made
