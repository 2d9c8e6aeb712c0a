"""The native kernels are compiled into the package where there is a compiler, and left out where not.

UMTN_KERNELS in the environment: `required` makes a kernel that cannot be compiled an error (wheels); `later` compiles
none (`make play` does so itself, beside the download).
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent))
from umtn.native.build import KERNELS, CompilerError

ROOT = Path(__file__).resolve().parent
BY_EXTENSION = {f"realtime.engines.{kernel.name}.kernel": kernel for kernel in KERNELS}
WISH = os.environ.get("UMTN_KERNELS", "")


class build_kernel(build_ext):
    def _target(self, ext: Extension) -> Path:
        if self.editable_mode:  # setuptools would copy one file of a name of its own choice, and drop ours
            return ROOT.joinpath(*ext.name.split(".")[:-1])
        return Path(self.get_ext_fullpath(ext.name)).parent

    def build_extension(self, ext: Extension) -> None:
        kernel = BY_EXTENSION[ext.name]
        there = kernel.packaged() if self.editable_mode else None
        if there is not None and kernel.fault(there):
            there = None
        if there is None and WISH == "later":
            return
        try:
            path = there or kernel.compile(self._target(ext))
            kernel.forget_others(path)
            print(f"{kernel.title}: {path}")
        except CompilerError as error:
            if WISH == "required":
                raise SystemExit(f"error: {error}") from None
            print(f"warning: {error}", file=sys.stderr)

    def get_outputs(self):
        return [
            str(path)
            for ext in self.extensions
            for path in self._target(ext).glob(f"{BY_EXTENSION[ext.name].name}-*.*")
        ]


class kernel_wheel(bdist_wheel):
    """The kernels are plain libraries, opened by ctypes: of a platform, but of no Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension(name, [], optional=WISH != "required") for name in BY_EXTENSION],
    cmdclass={"build_ext": build_kernel, "bdist_wheel": kernel_wheel},
)
