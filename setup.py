"""The native kernels are compiled into the package where there is a compiler, and left out where not."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent))
from realtime.native.build import CompilerError
from realtime.native.kernels import KERNELS

BY_EXTENSION = {f"realtime.engines.{kernel.name}_cpu.kernel": kernel for kernel in KERNELS}


class build_kernel(build_ext):
    def _target(self, ext: Extension) -> Path:
        # build_lib for a wheel, the source folder for an editable install
        return Path(self.get_ext_fullpath(ext.name)).parent

    def build_extension(self, ext: Extension) -> None:
        kernel = BY_EXTENSION[ext.name]
        try:
            print(f"{kernel.title}: {kernel.compile(self._target(ext))}")
        except CompilerError as error:
            print(f"warning: {error}", file=sys.stderr)

    def get_outputs(self):
        return [
            str(path)
            for ext in self.extensions
            for path in self._target(ext).glob(f"{BY_EXTENSION[ext.name].name}-*.*")
        ]


setup(
    ext_modules=[Extension(name, [], optional=True) for name in BY_EXTENSION],
    cmdclass={"build_ext": build_kernel},
)
