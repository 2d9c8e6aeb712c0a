"""A decoder and an encoder answer for themselves: hardly anybody asks what kind they are."""

from __future__ import annotations

import ast
from pathlib import Path

import umtn

ROOT = Path(umtn.__file__).resolve().parent.parent
MOST = 15


def _named(node: ast.AST) -> set[str]:
    """Every name in an expression, of `a.b` the last."""
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def count_model_isinstance(root: Path) -> int:
    """Calls of `isinstance` in umtn and export that name a class of umtn/model, or a union of such by another name."""
    paths = [p for package in ("umtn", "export") for p in sorted((root / package).rglob("*.py"))]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    kinds = {
        node.name
        for path, tree in trees.items()
        if root / "umtn" / "model" in path.parents
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    for tree in trees.values():
        for node in tree.body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.BinOp)
                and _named(node.value) & kinds
            ):
                kinds |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    calls = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    asked = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "isinstance"]
    return sum(bool(_named(call.args[1]) & kinds) for call in asked)


def test_models_answer_for_themselves() -> None:
    assert count_model_isinstance(ROOT) <= MOST


def test_the_count_sees_kinds_and_their_unions(tmp_path: Path) -> None:
    (tmp_path / "umtn" / "model").mkdir(parents=True)
    (tmp_path / "umtn" / "model" / "a.py").write_text("class A: pass\nclass B: pass\n")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "b.py").write_text(
        "Either = A | B\nisinstance(x, Either)\nisinstance(x, (int, a.B))\nisinstance(x, str)\n"
    )
    assert count_model_isinstance(tmp_path) == 2
