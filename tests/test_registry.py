"""The registry that every seam uses: names, lazy imports, entry points of other packages, and what can go wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from distill.console.errors import Failure, UsageFailure
from distill.registry import Registry, load_object

GROUP = "distill_to_phone.test_colours"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path, like site-packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def module(site: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with an entry, an object of the wrong type, and a name that is not imported yet."""
    (site / "colours_for_tests.py").write_text("RED = 255\nWORD = 'red'\n")
    monkeypatch.delitem(sys.modules, "colours_for_tests", raising=False)
    return "colours_for_tests"


def install(site: Path, group: str, **points: str) -> None:
    """Add the metadata that pip writes for a package with entry points."""
    info = site / "colours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: colours\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def colours(**builtin: str) -> Registry[int]:
    return Registry("colour", int, builtin, group=GROUP)


class Spec:
    """An entry type that is not of type inting, so that a table of targets holds no finished entries."""

    def __init__(self, value: int) -> None:
        self.value = value


def specs(**builtin: Spec | str) -> Registry[Spec]:
    return Registry("spec", Spec, builtin, group=GROUP)


def test_names_keep_their_order_and_import_nothing(module: str) -> None:
    registry = specs(second=f"{module}:SECOND", first="no_such_module:X")
    assert registry.names() == list(registry) == ["second", "first"]
    assert "first" in registry and "third" not in registry and 3 not in registry
    assert module not in sys.modules


def test_an_entry_is_imported_once_when_it_is_asked_for(site: Path, module: str) -> None:
    (site / f"{module}.py").write_text("from test_registry import Spec\nONE = Spec(1)\n")
    registry = specs(one=f"{module}:ONE")
    assert module not in sys.modules
    assert registry["one"].value == 1
    assert module in sys.modules
    del sys.modules[module]
    assert registry["one"] is registry["one"]
    assert module not in sys.modules
    assert [(name, spec.value) for name, spec in registry.items()] == [("one", 1)]


def test_an_unknown_name_gets_a_suggestion() -> None:
    registry = specs(orange=Spec(1), green=Spec(2))
    with pytest.raises(UsageFailure, match=r"^unknown spec 'ornge' \(did you mean 'orange'\?\)$"):
        registry["ornge"]
    with pytest.raises(UsageFailure, match=r"^unknown spec 'zzz' \(known: green, orange\)$"):
        registry["zzz"]


def test_another_package_adds_entries(site: Path, module: str) -> None:
    install(site, GROUP, red=f"{module}:RED")
    registry = colours(blue="sys:maxsize")
    assert registry.names() == ["blue", "red"]
    assert "red" in registry
    assert module not in sys.modules
    assert registry["red"] == 255
    with pytest.raises(UsageFailure, match="did you mean 'red'"):
        registry["rde"]


def test_another_package_does_not_replace_a_builtin_entry(site: Path, module: str) -> None:
    install(site, GROUP, blue=f"{module}:RED")
    assert colours(blue="sys:maxsize")["blue"] == sys.maxsize


def test_entry_points_of_another_group_are_not_read(site: Path, module: str) -> None:
    install(site, "distill_to_phone.other", red=f"{module}:RED")
    assert "red" not in colours()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no_such_module:RED", "No module named 'no_such_module'"),
        ("colours_for_tests:GREEN", "no attribute 'GREEN'"),
        ("colours_for_tests", "is not module:object"),
        ("colours_for_tests:", "is not module:object"),
        (":RED", "is not module:object"),
        ("broken_for_tests:RED", "division by zero"),
    ],
)
def test_an_entry_that_cannot_be_imported(target: str, says: str, site: Path, module: str) -> None:
    (site / "broken_for_tests.py").write_text("1 / 0\n")
    registry = colours(red=target)
    with pytest.raises(Failure, match=f"colour 'red' .*cannot be imported: .*{says}") as caught:
        registry["red"]
    assert target in caught.value.what and caught.value.exit_code == 1
    assert "the package that adds it" in caught.value.cure


def test_a_failure_on_import_keeps_its_own_cure(site: Path, module: str) -> None:
    (site / f"{module}.py").write_text(
        "from distill.console.errors import Failure\nraise Failure('red: needs paint', 'pip install paint')\n"
    )
    with pytest.raises(Failure, match=r"^red: needs paint \(pip install paint\)$"):
        colours(red=f"{module}:RED")["red"]


def test_an_entry_of_the_wrong_type(site: Path, module: str) -> None:
    install(site, GROUP, word=f"{module}:WORD")
    with pytest.raises(Failure, match=rf"colour 'word' \({module}:WORD\) is not of type int \("):
        colours()["word"]


def test_entries_can_be_added_for_a_while_and_for_good() -> None:
    registry = specs(one=Spec(1))
    with registry.added("two", Spec(2)):
        assert registry["two"].value == 2 and registry.names() == ["one", "two"]
    assert "two" not in registry
    with pytest.raises(RuntimeError, match="inside"), registry.added("two", Spec(2)):
        raise RuntimeError("inside")
    assert "two" not in registry
    registry.add("three", Spec(3))
    assert registry["three"].value == 3
    for add in (registry.add, lambda name, entry: registry.added(name, entry).__enter__()):
        with pytest.raises(ValueError, match="spec 'one' exists already"):
            add("one", Spec(4))
    assert registry["one"].value == 1


def test_an_object_by_its_path() -> None:
    assert load_object("pathlib:Path") is Path
