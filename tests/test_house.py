"""The house keeps its shape: floors, no circles, rooms of a readable size, one name for one thing.

An import counts wherever it stands, at a file's head, in a function, or for the type checker alone. What the
rooms are for stands in docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("umtn", "export", "realtime", "benchmarks")

# From the ground up: a room may use what stands before it in its own row, and what the row names as its ground.
PLAYING = (
    "umtn.errors",
    "umtn.files",
    "umtn.native",
    "export.bundle",
    "realtime.shared",
    "realtime.engines",
    "realtime.dsp",
    "realtime.recording",
    "realtime.audio",
)
LEARNING = (
    "umtn.errors",
    "umtn.files",
    "umtn.native",
    "export.bundle",
    "umtn.model",
    "umtn.data",
    "export",
    "umtn.offline",
    "umtn.evaluation",
    "umtn.training",
    "umtn.experiments",
    "umtn.cli",
)
# Beyond its own row: what else a room may use, to the module where only one is meant.
ALSO = {
    "realtime.control": {
        "umtn.errors",
        "umtn.files",
        "export.bundle",
        "realtime.shared",
        "realtime.dsp.controls",
        "realtime.recording.take_files",
    },
    "umtn.offline": {"realtime.shared", "realtime.engines"},
    "umtn.evaluation": {"realtime.shared", "realtime.engines"},
    "umtn.training": {"realtime.shared", "realtime.engines"},
    "umtn.experiments": {"realtime.shared", "realtime.engines"},
}
NOT = {("umtn.model", "export.bundle"), ("umtn.data", "export.bundle")}
# These put the rooms together and see all of them.
OPEN = (
    "umtn.cli",
    "umtn.__main__",
    "realtime.run",
    "realtime.play",
    "realtime.app",
    "realtime.surfaces",
    "realtime.options",
    "realtime.replay",
    "realtime.__main__",
    "realtime.latency",
    "realtime.doctor",
    "realtime.patches",
    "export.__main__",
    "benchmarks",
)
GROUND = ("umtn.missing",)  # ask about packages without importing one

MOST_MODULES = 14
LEAST_LINES, MOST_LINES = 60, 450
SHORT = {  # one idea that is small, and has no better room
    "umtn/errors.py": "every room's ground",
    "umtn/files.py": "every room's ground",
    "umtn/training/ema.py": "two loops train, and neither may import the other",
    "realtime/control/presets/names.py": "the library and what it throws away both ask it",
    "realtime/shared/interrupts.py": "imported before anything else, so that Ctrl-C finds nothing half done",
}
SAME_NAME = {"__init__", "__main__", "engine", "kernel", "weights"}


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports, wherever in the file."""
    known = modules()
    edges: dict[str, set[str]] = defaultdict(set)
    for name, path in known.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: imports here are absolute"
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    edges[name].add(full if full in known else str(node.module))
            elif isinstance(node, ast.Import):
                edges[name] |= {alias.name for alias in node.names}
    return {name: {to for to in edges[name] if to in known and to != name} for name in known}


def _is_in(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def _room(module: str, rooms: tuple[str, ...]) -> str | None:
    return max((room for room in rooms if _is_in(module, room)), key=len, default=None)


def _may(module: str, to: str) -> bool:
    """Whether the floors let `module` import `to`."""
    if _is_in(to, "benchmarks"):
        return _is_in(module, "benchmarks")
    if any(_is_in(module, room) for room in OPEN):
        return True
    if any(_is_in(to, room) for room in ("umtn.errors", *GROUND)) or to in PACKAGES:
        return True
    if any(_is_in(to, room) for room in ALSO.get(_room(module, tuple(ALSO)) or "", ())):
        return True
    for row in (PLAYING, LEARNING):
        here, there = _room(module, row), _room(to, row)
        if here and there:
            return row.index(there) <= row.index(here) and (here, there) not in NOT
    return _room(module, tuple(ALSO)) is not None and _room(module, tuple(ALSO)) == _room(to, tuple(ALSO))


def test_every_module_has_a_room() -> None:
    rooms = (*PLAYING, *LEARNING, *ALSO, *OPEN, *GROUND)
    homeless = [m for m in modules() if m not in PACKAGES and not any(_is_in(m, room) for room in rooms)]
    assert homeless == []


def test_no_import_goes_up() -> None:
    up = [f"{m} -> {to}" for m, tos in imports().items() for to in sorted(tos) if not _may(m, to)]
    assert up == []


@pytest.mark.parametrize(
    "module, to, may",
    [
        ("umtn.model.checkpoint", "umtn.data.dataset", False),
        ("umtn.training.train", "realtime.engines.select", True),
        ("umtn.training.train", "realtime.audio.process", False),
        ("realtime.control.namespace", "realtime.engines.engine", False),
        ("realtime.control.namespace", "realtime.dsp.controls", True),
        ("realtime.control.namespace", "realtime.dsp.filters", False),
        ("realtime.engines.live.engine", "realtime.recording.snapshot", False),
        ("realtime.audio.process", "umtn.model.config", False),
        ("realtime.app", "realtime.audio.process", True),
        ("realtime.app", "benchmarks.jack", False),
        ("export.onnx", "umtn.training.train", False),
        ("umtn.evaluation.evaluate", "export.verify", True),
    ],
)
def test_the_floors_mean_what_they_say(module: str, to: str, may: bool) -> None:
    assert _may(module, to) is may


def _circles(edges: dict[str, set[str]]) -> Iterator[list[str]]:
    """Strongly connected components of two modules or more (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for to in edges[name]:
            if to not in index:
                visit(to)
                low[name] = min(low[name], low[to])
            elif to in stack:
                low[name] = min(low[name], index[to])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in edges:
        if name not in index:
            visit(name)
    yield from found


def test_there_is_no_circle() -> None:
    assert list(_circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == [["a", "b", "c"]]
    assert list(_circles(imports())) == []


def test_a_folder_can_be_read_at_a_glance() -> None:
    folders: dict[Path, int] = defaultdict(int)
    for path in modules().values():
        folders[path.parent] += path.stem not in ("__init__", "__main__")
    assert {str(f.relative_to(ROOT)): n for f, n in folders.items() if n > MOST_MODULES} == {}
    shipped = [m for m, p in modules().items() if p.stem != "__init__" and not _is_in(m, "benchmarks")]
    assert len(shipped) <= 190
    importers: dict[str, set[str]] = defaultdict(set)
    for module, tos in imports().items():
        for to in tos:
            importers[to].add(module)
    single = [m for m in shipped if len(importers[m]) == 1]
    assert len(single) <= 0.3 * len(shipped), sorted(single)


def _is_table(path: Path) -> bool:
    """Nine tenths of its lines are literals at the top level: presets, instruments, parameters."""
    body = tree(path).body
    literal = sum(
        (node.end_lineno or 0) - node.lineno + 1
        for node in body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
    )
    return literal > 0.5 * len(path.read_text(encoding="utf-8").splitlines())


def test_a_file_holds_one_idea_whole() -> None:
    wrong = {}
    for path in modules().values():
        lines, name = len(path.read_text(encoding="utf-8").splitlines()), str(path.relative_to(ROOT))
        short = lines < LEAST_LINES and path.stem not in ("__init__", "__main__") and name not in SHORT
        if (short or lines > MOST_LINES) and not _is_table(path):
            wrong[name] = lines
    assert wrong == {}


def test_no_name_is_used_twice_in_a_package() -> None:
    """But in `umtn/cli`, where a command's file is called after what it opens."""
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in modules().values():
        name = str(path.relative_to(ROOT))
        if path.stem not in SAME_NAME and not name.startswith("umtn/cli/"):
            names[name.split("/")[0], path.stem].append(name)
    assert [paths for paths in names.values() if len(paths) > 1] == []


@cache
def _private_words() -> tuple[str, ...]:
    """The words of docs/glossary.md that no file may use for a name any more: the table `word | now`."""
    glossary = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    table = glossary[glossary.index("## Words that are gone") :]
    return tuple(re.findall(r"^\| `([a-z_]+)` \|", table, flags=re.MULTILINE))


def _identifiers(module: ast.Module) -> Iterator[str]:
    """What a file names for others: its classes and functions, and what else stands at its top. Not the fields of a
    class, which are keys of checkpoints, bundles and recordings."""
    for node in module.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name)) if target else ()


def _words(identifier: str) -> set[str]:
    """`DoubtedPast`, `doubted_past` -> {"doubted", "past"}."""
    return {w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def test_no_private_word_names_anything() -> None:
    gone = set(_private_words())
    assert len(gone) >= 8
    wrong = {
        f"{path.relative_to(ROOT)}: {identifier}"
        for path in modules().values()
        for identifier in (path.stem, *_identifiers(tree(path)))
        if _words(identifier) & gone
    }
    assert wrong == set()


def _public(path: Path) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    listed: list[str] = []
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = ast.literal_eval(node.value)
    for node in tree(path).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in listed:
            yield node


def test_whatever_is_public_says_what_it_is() -> None:
    """Each module, and each function and class in its `__all__`, has a docstring."""
    mute = [
        str(p.relative_to(ROOT))
        for m, p in modules().items()
        if p.stat().st_size and not ast.get_docstring(tree(p))
    ]
    mute += [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in modules().values()
        for node in _public(path)
        if not ast.get_docstring(node)
        and not any(isinstance(b, ast.Name) and b.id.endswith("Error") for b in getattr(node, "bases", []))
    ]
    assert mute == []


def test_the_readme_is_a_door_and_not_a_house() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180
    tree_page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    folders = {p.parent for p in modules().values()} - {ROOT / p for p in PACKAGES}
    missing = [str(f.relative_to(ROOT)) for f in folders if f"{f.name}/" not in tree_page]
    assert missing == []
