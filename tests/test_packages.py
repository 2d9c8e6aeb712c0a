"""The house's one direction: realtime -> export.bundle.bundle, never torch; imports cost nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "imported, foreign",
    [
        ("realtime.run", ("torch", "onnxruntime", "umtn", "sounddevice")),
        ("realtime.audio.process", ("torch", "umtn")),
        ("export.bundle.bundle", ("torch", "onnx", "umtn")),
        ("umtn", ("torch", "numpy")),
        ("umtn.model.translator", ("onnx", "sounddevice", "pythonosc", "realtime", "export")),
    ],
)
def test_imports_keep_the_direction(imported: str, foreign: tuple[str, ...]) -> None:
    code = f"import sys, {imported}; print(*[m for m in {foreign!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == []
