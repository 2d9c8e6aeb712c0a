"""Another project's package in the place of one of ours: a sentence, before an import fails with a riddle.

Python's packages share one space of names, and PyPI has a `realtime` too, a database's client. In one environment
with umtn-live its files lie among ours and the `__init__.py` that came last stays: ours are then loaded through
theirs, which asks for packages that nobody here knows. Light: imports neither package, nor anything heavy.
"""

from __future__ import annotations

import importlib.util
import os
from importlib import metadata
from pathlib import Path

__all__ = ["MARK", "foreign_package_sentence"]

MARK = "umtn-live"  # stands in the `__init__.py` of each of our packages
NAME = "umtn-live"
OURS = {
    "realtime": "run.py",
    "export": "verify.py",
}  # package -> a file by which it is known without `__init__.py`
HEAD_BYTES = 4096


def foreign_package_sentence() -> str:
    """What has taken the place of `realtime` or `export`, and the cure, in one sentence; "" if nothing has."""
    for package, file in OURS.items():
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
