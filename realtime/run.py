"""`python -m realtime.run --in mic --to strings`: the control process.

Threading model: the main thread supervises the audio process and draws the terminal view; OSC has a thread of
its own; the sound is made in another process (session.py), which imports this file again when it is spawned,
so that nothing heavy may be imported at the top.
"""

from __future__ import annotations

from realtime.interrupts import hold_interrupts, release_interrupts

if __name__ == "__main__":  # before the other imports: Ctrl-C could come in the middle of them
    hold_interrupts()

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from realtime.options import find_bundle, parse, pick_domain

if TYPE_CHECKING:
    from realtime.audio.config import AudioConfig
    from realtime.performance import Performance

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code (0 done or stopped by Ctrl-C, 1 audio failed, 2 bad input)."""
    try:
        options = parse(arguments)
        if options.list:
            return _list()
        if options.stop:
            return _stop(options.stop)
        return _play(options)
    except ValueError as error:  # UserError, BundleError and SharedStateError: a sentence each
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before or after the music, where nothing is open
        return 0
    finally:
        with suppress(KeyboardInterrupt):
            release_interrupts()


def _play(options: argparse.Namespace) -> int:
    performance = _prepare(options)
    return performance.run()


def _prepare(options: argparse.Namespace) -> Performance:
    """Everything that can be wrong without a device is found here."""
    from export.bundle import Bundle
    from realtime.performance import Performance

    path = find_bundle(options.bundle)
    manifest = Bundle.open(path).manifest
    domains = tuple(domain.id for domain in manifest.domains)
    values = {
        name: value
        for name, value in vars(options).items()
        if name in _parameter_names() and value is not None
    }
    values["to"] = pick_domain(options.to, domains)
    osc = None if options.no_osc else (options.osc_host, options.osc_port)
    return Performance(
        _config(options, str(path)), domains, values, osc, latent_channels=manifest.latent_channels
    )


def _parameter_names() -> set[str]:
    from realtime.parameters import PARAMETERS

    return {p.name for p in PARAMETERS}


def _config(options: argparse.Namespace, bundle: str) -> AudioConfig:
    from realtime.audio.config import AudioConfig

    return AudioConfig(
        bundle=bundle,
        input=options.input,
        output=options.output,
        engine=options.engine,
        block=options.block,
        rate=options.rate,
        channel=options.channel,
        slack=options.slack,
        fast=options.fast,
        seconds=options.seconds,
    )


def _list() -> int:
    from realtime.audio.devices import list_devices

    print(list_devices())
    return 0


def _stop(name: str) -> int:
    from realtime.shared import SharedState

    shared = SharedState.attach(name)
    shared.stop_flag = True
    shared.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
