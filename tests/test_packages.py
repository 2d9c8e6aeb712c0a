"""The house's one direction: realtime -> export.bundle.bundle, never torch; imports cost nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import umtn

# of umtn, playing knows its errors, its files and its compiler, and nothing that learns
LEARNING = tuple(
    f"umtn.{path.stem}"
    for path in Path(umtn.__file__).parent.iterdir()
    if path.suffix in ("", ".py") and path.stem not in ("__init__", "__main__", "errors", "files", "native")
)


@pytest.mark.parametrize(
    "imported, foreign",
    [
        ("realtime.run", ("torch", "onnxruntime", "sounddevice", *LEARNING)),
        ("realtime.audio.process", ("torch", *LEARNING)),
        ("export.bundle.bundle", ("torch", "onnx", *LEARNING)),
        ("umtn", ("torch", "numpy")),
        ("umtn.model.translator", ("onnx", "sounddevice", "pythonosc", "realtime", "export")),
    ],
)
def test_imports_keep_the_direction(imported: str, foreign: tuple[str, ...]) -> None:
    code = f"import sys, {imported}; print(*[m for m in {foreign!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == []
