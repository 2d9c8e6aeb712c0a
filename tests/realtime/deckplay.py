"""A performance with a deck, as a script: `python deckplay.py BUNDLE PORT [RECORD]`. Plays the demo to nowhere."""

from __future__ import annotations

import sys

from export.bundle.bundle import Bundle
from realtime.app import Performance
from realtime.shared.audio_config import AudioConfig
from realtime.surfaces import Wanted


def main(bundle: str, port: str, record: str | None = None) -> int:
    manifest = Bundle.open(bundle).manifest
    domains = tuple(domain.id for domain in manifest.domains)
    config = AudioConfig(
        bundle, "demo", "none", "onnx", realtime_priority=False, record=record, tail_seconds=60.0
    )
    performance = Performance(
        config, domains, {}, Wanted(osc=("127.0.0.1", int(port))), latent_channels=manifest.latent_channels
    )
    return performance.run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
