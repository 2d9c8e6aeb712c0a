"""The native WaveNet kernel is compiled into the package where there is a compiler, and left out where not."""

import importlib.util
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent))
# by its path: the package around it needs numpy, which a build has not
spec = importlib.util.spec_from_file_location("kernel_build", "realtime/engines/wavenet_cpu/build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


class build_kernel(build_ext):
    def build_extension(self, ext: Extension) -> None:
        # build_lib for a wheel, the source folder for an editable install
        target = Path(self.get_ext_fullpath(ext.name)).parent
        try:
            print(f"native WaveNet kernel: {build.compile(target)}")
        except build.CompilerError as error:
            print(f"warning: {error}", file=sys.stderr)

    def get_outputs(self):
        return [
            str(p)
            for e in self.extensions
            for p in Path(self.get_ext_fullpath(e.name)).parent.glob("wavenet-*.*")
        ]


setup(
    ext_modules=[Extension("realtime.engines.wavenet_cpu.kernel", [], optional=True)],
    cmdclass={"build_ext": build_kernel},
)
