"""A whole performance over the fake audio process with presets and keys, to be run in a terminal by test_keys.

`python stagehand.py FOLDER [fail]`; fail: an exception in the middle of it all.
"""

from __future__ import annotations

import sys
from pathlib import Path

from realtime.app import Performance
from realtime.shared.audio_config import AudioConfig
from realtime.surfaces import Wanted
from tests.realtime.control.fakeaudio import DOMAINS, TARGET

__all__ = ["main"]


def main() -> int:
    """Play until a key or a signal ends it."""
    config = AudioConfig(bundle="", input="play", output="none")
    wanted = Wanted(osc=("127.0.0.1", 0), presets=Path(sys.argv[1]), presets_kept=True, keys=True)
    stage = Performance(config, DOMAINS, {"mix": 0.25}, wanted, TARGET)
    draw = stage.view.update

    def update() -> None:
        draw()
        if "fail" in sys.argv and stage.shared.get("mix") < 0.2:
            raise RuntimeError("a fault")

    stage.view.update = update  # type: ignore[method-assign]
    return stage.run()


if __name__ == "__main__":
    sys.exit(main())
