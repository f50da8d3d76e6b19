"""Names follow docs/glossary.md: one class, one name; one thing, one word; every registered name is documented."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from distill.registry import Registry

ROOT = Path(__file__).parents[1]
ROOMS = ("distill", "export", "gallery", "benchmark")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
# Words that the glossary replaces: image, mirrored.
REPLACED = {"picture", "pictures", "photo", "photos", "turned"}
# Parameters that are the placeholder or the flag of a command line.
ALLOWED = {("gallery/cli.py", "photos")}
KINDS = ("losses", "backbones", "data", "formats", "targets", "repairs", "devices", "teachers")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def identifiers(path: Path) -> set[str]:
    """Every name that a file defines: classes, functions, parameters, variables, attributes, and its own name."""
    found = {path.stem}
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def words(identifier: str) -> set[str]:
    """``toPicture``, ``to_picture`` -> to, picture."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def registries() -> Iterator[Registry]:
    for path in FILES:
        for node in tree(path).body:
            value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Registry":
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                yield getattr(import_module(module.removesuffix(".__init__")), target.id)


def test_no_two_public_classes_share_a_name():
    homes = defaultdict(list)
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(ROOT)))
    assert not {name: paths for name, paths in homes.items() if len(paths) > 1}


def test_no_two_modules_of_a_folder_differ_by_the_plural():
    for path in FILES:
        assert not path.with_name(f"{path.stem}s.py").exists(), path


def test_identifiers_use_the_words_of_the_glossary():
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        for name in identifiers(path)
        if words(name) & REPLACED and (path.relative_to(ROOT).as_posix(), name) not in ALLOWED
    }
    assert not sorted(wrong)


def test_the_words_of_a_name_are_found():
    assert words("BadPicture") == {"bad", "picture"} and words("photo_rows") == {"photo", "rows"}
    assert words("HTMLPicture") == {"html", "picture"} and not words("photometric") & REPLACED


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_name_is_documented(kind):
    (registry,) = [found for found in registries() if found.group == f"distill_to_phone.{kind}"]
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    code = " ".join(re.findall(r"`[^`\n]+`", pages)) + " ".join(re.findall(r"```.*?```", pages, re.DOTALL))
    missing = [name for name in registry.names() if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code)]
    assert registry.names() and not missing
