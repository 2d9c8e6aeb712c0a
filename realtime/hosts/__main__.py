"""`python -m realtime.hosts [-o DIR] [--bundle NAME] [--osc-port N]`: write the patches for other programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from realtime.arguments import SentenceParser, exit_code
from realtime.errors import UserError
from realtime.hosts.max_for_live import max_for_live
from realtime.hosts.max_patch import max_patch
from realtime.hosts.open_stage_control import open_stage_control
from realtime.hosts.pure_data import pure_data
from realtime.hosts.readme import readme
from realtime.hosts.supercollider import supercollider
from realtime.hosts.table import Session

__all__ = ["FILES", "main", "write_all"]

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
        prog="python -m realtime.hosts",
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
    from export.bundle import Bundle
    from realtime.options import find_bundle

    manifest = Bundle.open(find_bundle(options.bundle)).manifest
    domains = tuple(domain.id for domain in manifest.domains)
    return Session.of(manifest.name, domains, options.host, options.osc_port)


if __name__ == "__main__":
    sys.exit(main())
