"""`python -m realtime.run --in mic --to strings`: the control process.

Threading model: the main thread supervises the audio process and draws the terminal view; OSC has a thread of
its own; the sound is made in another process (session.py), which imports this file again when it is spawned,
so that nothing heavy may be imported at the top.
"""

from __future__ import annotations

from realtime.shared.interrupts import hold_interrupts, release_interrupts

if __name__ == "__main__":  # before the other imports: Ctrl-C could come in the middle of them
    hold_interrupts()

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.options import DEFAULT_BUNDLE, DEFAULT_PORT, parse, pick_domain
from realtime.shared.audio_config import find_bundle, names_a_file
from realtime.shared.places import check_input, check_output, check_presets, check_record

if TYPE_CHECKING:
    from realtime.app import Performance
    from realtime.shared.audio_config import AudioConfig
    from realtime.surfaces import Wanted

__all__ = ["main"]

LOOPBACK = "127.0.0.1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code (0 done or stopped by Ctrl-C, 1 audio failed, 2 bad input)."""
    try:
        options = parse(arguments)
        if options.list:
            return _list()
        if options.stop:
            return _stop(options.stop)
        if options.replay:
            return _replay(options)
        return _play(options)
    except ValueError as error:  # UserError, BundleError and SharedStateError: a sentence each
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        from umtn.missing import is_ours, sentence

        if is_ours(error):
            raise
        print(f"error: {sentence(error.name or '')}", file=sys.stderr)
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
    from export.bundle.bundle import Bundle
    from realtime.app import Performance
    from realtime.engines.select import compile_first

    _check_places(options)
    path = find_bundle(options.bundle or DEFAULT_BUNDLE)
    bundle = Bundle.open(path)
    compile_first(bundle, options.engine, lambda line: print(line, flush=True))
    manifest = bundle.manifest
    domains = tuple(domain.id for domain in manifest.domains)
    values = {
        name: value
        for name, value in vars(options).items()
        if name in _parameter_names() and value is not None
    }
    values["to"] = pick_domain(options.to, domains)
    config, wanted = _config(options, str(path)), _wanted(options, frozenset(values))
    return Performance(config, domains, values, wanted, latent_channels=manifest.latent_channels)


def _check_places(options: argparse.Namespace) -> None:
    check_input(options.input)
    if options.output:
        check_output(options.output)
    if options.record is not None:
        check_record(options.record)
    if options.presets:
        check_presets(options.presets)


def _wanted(options: argparse.Namespace, given: frozenset[str]) -> Wanted:
    """The surfaces; a file that is only translated needs no hands, and no port unless one is asked for."""
    from realtime.surfaces import Wanted

    to_file = names_a_file(options.output or "")
    live = not (options.fast or to_file)
    unattended = options.fast and (to_file or options.output == "none")
    asks_osc = options.osc_port is not None or options.osc_host is not None
    asks_web = any(o is not None for o in (options.web_port, options.web_host, options.web_token))
    osc_port = DEFAULT_PORT if options.osc_port is None else options.osc_port
    port = osc_port if options.web_port is None else options.web_port
    osc_host, web_host = (LOOPBACK if o is None else o for o in (options.osc_host, options.web_host))
    has_osc = not options.no_osc and (asks_osc or not unattended)
    has_web = not options.no_web and (asks_web or not unattended)
    return Wanted(
        osc=(osc_host, osc_port) if has_osc else None,
        web=(web_host, port) if has_web else None,
        web_elsewhere=options.web_port is None,
        web_token=options.web_token,
        announce=live,
        midi=options.midi,
        midi_map=Path(options.midi_map) if options.midi_map else None,
        presets=Path(options.presets) if options.presets else True,
        presets_kept=live,
        keys=live and not options.no_keys,
        on_command_line=given if options.to is not None else given - {"to"},
    )


def _replay(options: argparse.Namespace) -> int:
    from realtime.replay import main as replay

    return replay(
        options.replay, options.output, str(find_bundle(options.bundle)) if options.bundle else None
    )


def _parameter_names() -> set[str]:
    from realtime.shared.parameters import PARAMETERS

    # Not every name: --record names a file, /umtn/record is an action without a value
    return {p.name for p in PARAMETERS if p.cli}


def _config(options: argparse.Namespace, bundle: str) -> AudioConfig:
    from realtime.shared.audio_config import AudioConfig

    return AudioConfig(
        bundle=bundle,
        input=options.input,
        output=options.output or "default",
        engine=options.engine,
        precision=options.precision,
        cores=options.cores,
        block=options.block,
        rate=options.rate,
        channel=options.channel,
        slack=options.slack,
        fast=options.fast,
        seconds=options.seconds,
        record=options.record,
    )


def _list() -> int:
    from realtime.audio.devices import list_devices

    print(list_devices())
    return 0


def _stop(name: str) -> int:
    from realtime.shared.memory import SharedState

    shared = SharedState.attach(name)
    shared.stop_flag = True
    shared.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
