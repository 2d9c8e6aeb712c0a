"""The native kernels are compiled into the package where there is a compiler, and left out where not."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent))
from umtn.native.build import KERNELS, CompilerError

ROOT = Path(__file__).resolve().parent
BY_EXTENSION = {f"realtime.engines.{kernel.name}.kernel": kernel for kernel in KERNELS}


class build_kernel(build_ext):
    def _target(self, ext: Extension) -> Path:
        if self.editable_mode:  # setuptools would copy one file of a name of its own choice, and drop ours
            return ROOT.joinpath(*ext.name.split(".")[:-1])
        return Path(self.get_ext_fullpath(ext.name)).parent

    def build_extension(self, ext: Extension) -> None:
        kernel = BY_EXTENSION[ext.name]
        try:
            path = (self.editable_mode and kernel.packaged()) or kernel.compile(self._target(ext))
            for other in path.parent.glob(f"{kernel.name}-*{path.suffix}"):
                if other != path:
                    other.unlink()  # of other sources
            print(f"{kernel.title}: {path}")
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
