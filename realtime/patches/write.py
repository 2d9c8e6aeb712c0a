"""`python -m realtime.patches [-o DIR] [--bundle NAME] [--osc-port N]`: write the patches for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from realtime.options import SentenceParser, exit_code
from realtime.patches.max import max_patch
from realtime.patches.max_for_live import max_for_live
from realtime.patches.open_stage_control import open_stage_control
from realtime.patches.pure_data import pure_data
from realtime.patches.supercollider import supercollider
from realtime.patches.table import Session
from umtn.errors import UserError

__all__ = ["FILES", "main", "readme", "write_all"]


# The README that is written beside the patches: what to open where, and what was really tried.


_TEXT = """# umtn-live in other programs

Written by `python -m realtime.patches` from the parameter table, for the bundle `{bundle}`
({domains}). Write them again
after a change of bundle: the domains stand in the menus. The program listens at `{target}`; it may be started before
or after the patches.

| file | open it with | hears on | opened in its program? |
|---|---|---|---|
| `umtn.amxd` | Ableton Live 11 or newer with Max for Live: drag it onto an audio track | UDP {live} | **no** |
| `umtn.maxpat` | Max 8 or newer | UDP {max} | **no** |
| `umtn.pd` | Pure Data 0.51 or newer, vanilla | its own socket | yes: 0.53, in the tests, without a window |
| `UmtnLive.sc` | SuperCollider 3.10 or newer | its own socket | yes: 3.13, in the tests |
| `umtn-open-stage-control.json` | Open Stage Control 1.17 or newer | its own socket | **no** |

"No": the tests hold every box, cord and parameter against the format as read from published files, but nobody has seen
the file in its program. Please report what does not open.

## Max for Live

The device steers the program; audio passes through it unchanged. Route a track's output to the program's input and the
program's output back to another track. Every parameter is automatable, mappable and saved with the Set. When the Set is
loaded its values are sent. `Follow` also shows what a phone or a preset moves; it is off at first, because each value
that comes from outside is a step in Live's undo history. Names for presets and bundles are typed into the fields; the
button above a field sends its text. One device for one program: a second device cannot hear on the same port.

## Max

`umtn.maxpat` opens in presentation. In the patching view each parameter is a cell with `r umtn-in` and `s umtn-out`,
to be copied into your own patch together with the connection at the top left.

## Pure Data

From any other patch: `[s umtn/mix]` sets, `[r umtn/value/mix]` tells the value, `[r umtn/status/load]` each figure.
`[s umtn/to]` takes the number of a domain, from 0.

## SuperCollider

Copy the class into `Platform.userExtensionDir` and recompile the class library.

    u = UmtnLive.new; u.subscribe;
    u.set('to', '{last}'); u.set('mix', 0.7); u.get('mix'); u.meter('level_out_db');

The head of the file lists the rest. No server is needed.

## Open Stage Control

    open-stage-control --load umtn-open-stage-control.json --send {target} --osc-port {stage}

Every widget names its target ({target}) itself; `--send` is for what you add. Then open the shown address on a phone
or a tablet. TouchOSC and other apps: type the addresses from the program's README, or use an app that knows OSCQuery
(Chataigne, ossia score and others), which finds all parameters on the program's web port.

## Another machine

`python -m realtime.patches --host ADDRESS` writes patches that steer a program on another machine, which must then be
started with `--osc-host 0.0.0.0`.
"""


def readme(session: Session) -> str:
    """Text of the README."""
    return _TEXT.format(
        bundle=session.bundle,
        domains=", ".join(session.domains),
        last=session.domains[-1] if session.domains else "",
        target=session.target,
        live=session.reply_port("live"),
        max=session.reply_port("max"),
        stage=session.reply_port("live") + 1,
    )


FILES: dict[str, Callable[[Session], str | bytes]] = {
    "umtn.maxpat": max_patch,
    "umtn.amxd": max_for_live,
    "umtn.pd": pure_data,
    "umtn-open-stage-control.json": open_stage_control,
    "UmtnLive.sc": supercollider,
    "README.md": readme,
}


def write_all(folder: Path, session: Session) -> list[Path]:
    """Write every file into the folder (made if need be) and name them; UserError if that is not possible."""
    contents = {name: make(session) for name, make in FILES.items()}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            path = folder / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            written.append(path)
    except OSError as error:
        raise UserError(f"-o {folder} cannot be written ({error.strerror or error})") from error
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 with one sentence for what is wrong."""
    parser = SentenceParser(
        prog="python -m realtime.patches",
        description="Write patches that steer the running program.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-o", dest="folder", default="umtn-hosts", metavar="DIR", help="where to (default: umtn-hosts)"
    )
    parser.add_argument(
        "--bundle", default="live", help="a .umtn file or a shipped one's name (default: live)"
    )
    parser.add_argument(
        "--osc-port", type=int, default=9100, metavar="N", help="the program's OSC port (default: 9100)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="the program's machine (default: this one)"
    )

    def write() -> int:
        options = parser.parse_args(arguments)
        for path in write_all(Path(options.folder).expanduser(), _session(options)):
            print(path)
        return 0

    return exit_code(write)


def _session(options: argparse.Namespace) -> Session:
    from export.bundle.bundle import Bundle
    from realtime.shared.audio_config import find_bundle

    manifest = Bundle.open(find_bundle(options.bundle)).manifest
    domains = tuple(domain.id for domain in manifest.domains)
    return Session.of(manifest.name, domains, options.host, options.osc_port)
