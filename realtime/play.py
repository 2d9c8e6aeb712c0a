"""`make play`: the microphone where there is one, else the built-in clip through the same live loop into a file.

It ends with what to type next, in the Python that has just played.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from realtime import run
from umtn.missing import command

__all__ = ["main"]

OUTPUT = Path("out/strings.wav")


def has_microphone() -> bool:
    """Whether PortAudio is there and offers an input and an output."""
    try:
        import sounddevice

        sounddevice.check_input_settings()
        sounddevice.check_output_settings()
    except Exception:  # no library, no device, no server: whatever it is, the clip plays all the same
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Play with the arguments of realtime.run; without any, choose what this machine can do."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(given):
        return run.main(given)
    code = _play(given)
    if code == 0:
        print(f"Next, type:  {command('play --in mic --to strings')}", flush=True)
    return code


def _play(given: list[str]) -> int:
    if any(word.startswith("--in") for word in given) or has_microphone():
        return run.main([*([] if "--to" in given else ["--to", "strings"]), *given])
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.unlink(missing_ok=True)  # our own, of an earlier run
    print(
        "No audio device here: playing the built-in clip through the live loop, in real time, "
        f"into {OUTPUT}.",
        flush=True,
    )
    code = run.main(["--in", "demo", "--out", str(OUTPUT), "--to", "strings", *given])
    if code == 0:
        print(f"Written: {OUTPUT}")
    return code


if __name__ == "__main__":
    sys.exit(main())
