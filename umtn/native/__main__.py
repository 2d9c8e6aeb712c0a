"""`python -m umtn.native`: compiles the native kernels that are missing. A minute, once.

Without them a `live` bundle is played by ONNX Runtime, which takes several times as long over a block, and a guided
WaveNet is not played at all. The package's build compiles them where it finds a compiler; this is for all others:
one that was installed before its compiler, or sources that have changed since.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from realtime.options import SentenceParser, exit_code
from umtn.native.build import KERNELS, CompilerError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every kernel is there; 1: one cannot be had here, which a sentence explains; 2: bad input."""
    parser = SentenceParser(
        prog="python -m umtn.native",
        description="Compile the native kernels that are missing, and say where each is. A minute, once; "
        "a compiler (g++ or clang++) is wanted. There are no options.",
        allow_abbrev=False,
    )
    return exit_code(lambda: _compile(parser.parse_args(arguments)))


def _compile(options: argparse.Namespace) -> int:
    missing = 0
    for kernel in KERNELS:
        path = kernel.ready()
        if path is None:
            print(f"compiling {kernel.title}, a minute, once", flush=True)
            try:
                path = kernel.compile()
            except CompilerError as error:
                print(f"warning: {error}", file=sys.stderr)
                missing += 1
                continue
        print(f"{kernel.title}: {path}")
    return min(missing, 1)


if __name__ == "__main__":
    sys.exit(main())
