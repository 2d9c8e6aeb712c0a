"""What is not installed here, in one sentence with the command that brings it.

A package may be missing because it belongs to an extra, or because another Python was typed than the one that
`make play` set up: a `.venv` beside the sources is then named.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from umtn.errors import UserError

__all__ = [
    "MARK",
    "command",
    "foreign_package_sentence",
    "in_place",
    "is_ours",
    "needs_training_packages",
    "neighbour",
    "pip_install",
    "require",
    "sentence",
]


ROOT = Path(__file__).resolve().parents[1]
OURS = ("umtn", "export", "realtime")
TRAIN = (
    "torch", "lightning_fabric", "lightning", "safetensors", "soxr", "mir_eval", "matplotlib", "tqdm", "onnx",
    "onnxscript", "scipy",
)  # fmt: skip
EXTRAS = {
    **dict.fromkeys(TRAIN, "train"),
    "onnxruntime": "onnx",
    "mido": "midi",
    "rtmidi": "midi",
    "cuda": "gpu",
    "numba": "native",
}
NAMES = {
    "onnxruntime": "ONNX Runtime",
    "torch": "PyTorch",
    "pythonosc": "python-osc",
    "rtmidi": "python-rtmidi",
    "cuda": "cuda-core",
}


def sentence(module: str, extra: str = "", why: str = "") -> str:
    """That the module is not installed, and the command that brings it. extra: the one to name; default: the module's
    own. why: it is there, but does not load.

    Where the environment of `make play` lies beside the sources and another Python runs, that one is named: it has
    all that playing needs.
    """
    module = module.split(".")[0]
    extra = extra or EXTRAS.get(module, "")
    name = NAMES.get(module, module)
    said = f"{name} cannot be loaded ({why})" if why else f"{name} is not installed"
    beside = neighbour()
    if beside is not None and not extra:
        return f"{said} for this Python ({sys.executable}); `make play` has set up another one: {in_place(beside)}"
    return f"{said}; {pip_install(extra)}"


def require(*modules: str) -> None:
    """End here, with the sentence and exit code 2, where one of them is not installed: before the imports at a
    program's top could say so."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            print(f"error: {sentence(module)}", file=sys.stderr)
            sys.exit(2)


def is_ours(error: ModuleNotFoundError) -> bool:
    """Whether a file of this program's own is missing: a fault, and nothing that pip would mend."""
    return (error.name or "").split(".")[0] in OURS


@contextmanager
def needs_training_packages() -> Iterator[None]:
    """UserError that says how to install them, where a package is missing that only training and export need."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or is_ours(error):
            raise
        raise UserError(sentence(error.name, "train")) from None


def pip_install(extra: str = "") -> str:
    """What to type, for this Python: `pip install "umtn-live[onnx]"`."""
    pip = "pip"
    if _inside():
        pip = _shown(_folder() / _file("pip"))
    elif extra and neighbour() is not None:
        pip = _shown(_folder() / _file("pip"))  # whoever sets up more sets up that one
    return f'{pip} install "umtn-live[{extra}]"' if extra else f"{pip} install umtn-live"


def command(name: str) -> str:
    """A command of this program as it is typed here: `umtn play`, `.venv/bin/umtn play`."""
    folder = _folder()
    return f"{_shown(folder / _file('umtn'))} {name}" if _inside() else f"umtn {name}"


def in_place(python: Path) -> str:
    """The command line that runs now, as another Python is asked for it."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = getattr(spec, "name", "") or ""
    module = module.removesuffix(".__main__")
    return f"{_shown(python)} -m {module}" if module.split(".")[0] in OURS else _shown(python)


def neighbour() -> Path | None:
    """The Python of the `.venv` beside the sources, where there is one and it does not run this."""
    python = _folder() / _file("python")
    return python if python.exists() and (ROOT / "pyproject.toml").is_file() and not _inside() else None


def _inside() -> bool:
    return Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()


def _folder() -> Path:
    return ROOT / ".venv" / ("Scripts" if sys.platform == "win32" else "bin")


def _file(name: str) -> str:
    return f"{name}.exe" if sys.platform == "win32" else name


def _shown(path: Path) -> str:
    """From here, where that is shorter; a name alone would be looked for on the search path."""
    try:
        short = path.relative_to(Path.cwd())
    except (ValueError, OSError):
        return str(path)
    return str(short if len(short.parts) > 1 else path)


# Another project's package in the place of one of ours: a sentence, before an import fails with a riddle.
#
# Python's packages share one space of names, and PyPI has a `realtime` too, a database's client. In one environment
# with umtn-live its files lie among ours and the `__init__.py` that came last stays: ours are then loaded through
# theirs, which asks for packages that nobody here knows. Light: imports neither package, nor anything heavy.


MARK = "umtn-live"  # stands in the `__init__.py` of each of our packages
NAME = "umtn-live"
MARKED = {
    "realtime": "run.py",
    "export": "verify.py",
}  # package -> a file by which it is known without `__init__.py`
HEAD_BYTES = 4096


def foreign_package_sentence() -> str:
    """What has taken the place of `realtime` or `export`, and the cure, in one sentence; "" if nothing has."""
    for package, file in MARKED.items():
        sentence = _sentence(package, file)
        if sentence:
            return sentence
    return ""


def _sentence(package: str, file: str) -> str:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # half imported by someone
        spec = None
    if spec is None:
        return f"the package {package!r} of {NAME} is missing from this environment; install {NAME} again"
    if spec.origin is None:  # no `__init__.py`: taken along when the other project was uninstalled
        folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
        if any((folder / file).is_file() for folder in folders):
            return ""
        return _told(package, folders[0] if folders else Path(package))
    return "" if _is_ours(Path(spec.origin)) else _told(package, Path(spec.origin))


def _is_ours(origin: Path) -> bool:
    try:
        with origin.open("rb") as stream:
            return MARK.encode() in stream.read(HEAD_BYTES)
    except OSError:
        return False


def _told(package: str, found: Path) -> str:
    folder = found.parent.parent if found.name == "__init__.py" else found.parent
    owner = _owner(found)
    if owner:
        python = "python" if os.name == "nt" else "python3"
        return (
            f"the package {package!r} in {folder} is that of {owner}, another project, and {NAME} needs its own of "
            f"that name; install {NAME} in a virtual environment of its own ({python} -m venv umtn-env)"
        )
    return (
        f"{found} hides the package {package!r} of {NAME}; give it another name, or start in another folder, "
        "or without PYTHONPATH"
    )


def _owner(found: Path) -> str:
    """Name and version of the other distribution that has installed this file, or ""."""
    wanted = found.resolve()
    for distribution in metadata.distributions():
        name = str(distribution.metadata["Name"])
        if name.lower().replace("_", "-") == NAME:
            continue
        for file in distribution.files or ():
            if file.name == wanted.name and Path(str(distribution.locate_file(file))).resolve() == wanted:
                return f"{name} {distribution.version}"
    return ""
