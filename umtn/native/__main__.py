"""`python -m umtn.native`: compiles the native kernels that are missing. A minute, once.

Without them a `live` bundle is played by ONNX Runtime, where that is installed, which takes several times as long over
a block, and a guided WaveNet is not played at all. The package's build compiles them where it finds a compiler; this is
for all others: one that was installed before its compiler, or sources that have changed since.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from umtn.native.build import KERNELS, CompilerError, Kernel

__all__ = ["main"]


def main(arguments: Sequence[str] = ()) -> int:
    """0: every kernel is there; 1: one cannot be had here, which a sentence explains."""
    options = _parse(arguments)
    missing = 0
    for kernel in KERNELS:
        if options.kernel not in (None, kernel.name):
            continue
        path = kernel.ready()
        if path is None:
            if (broken := kernel.packaged()) is not None:
                print(f"{broken} cannot be loaded ({kernel.fault(broken)})", file=sys.stderr)
            print(f"compiling {kernel.title}, a minute, once", flush=True)
            try:
                path = _compiled(kernel, options.package)
            except CompilerError as error:
                print(f"warning: {error}", file=sys.stderr)
                missing += 1
                continue
        print(f"{kernel.title}: {path}")
    return min(missing, 1)


def _compiled(kernel: Kernel, into_package: bool) -> Path:
    if not into_package:
        return kernel.compile()
    path = kernel.compile(kernel.sources.parent)
    kernel.forget_others(path)
    return path


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m umtn.native",
        description="Compile the native kernels that are missing here, a minute, once; it needs a C++ compiler.",
    )
    names = [kernel.name for kernel in KERNELS]
    parser.add_argument(
        "kernel", nargs="?", choices=names, help=f"only this one: {' or '.join(names)} (default: all)"
    )
    parser.add_argument(
        "--package",
        action="store_true",
        help="put them into the program's own folder, as its installation does (default: the user's cache)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
