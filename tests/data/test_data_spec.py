from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.console.errors import Failure, UsageFailure
from distill.data.folder import open_folder
from distill.data.kind import DataKind, yes_or_no
from distill.data.spec import KINDS, data_help, open_data


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "unknown kind"),
        ("glyph", "did you mean 'glyphs'"),
        ("foldr:x", "did you mean 'folder'"),
        ("zzz:x", "known: cars196"),
        ("glyphs:", "nothing after the colon"),
        ("glyphs:clases=10", "did you mean 'classes'"),
        ("glyphs:10", "not an option"),
        ("glyphs:=3", "unknown option ''"),
        ("glyphs:classes=1", "from 2 to 1929"),
        ("glyphs:classes=5000", "from 2 to 1929"),
        ("glyphs:classes=ten", "whole number"),
        ("glyphs:classes=-5", "whole number"),
        ("glyphs:classes=٣", "whole number"),
        ("glyphs:classes=" + "9" * 5000, "whole number"),
        ("glyphs:faces=13", "from 1 to 12"),
        ("glyphs:size=8", "from 16 to 1024"),
        ("glyphs:size=64,size=32", "given twice"),
        ("glyphs:size=64,", "'' is not an option"),
        ("folder:", "no path"),
        ("folder", "no path"),
        ("folder:x?", "nothing after the question mark"),
        ("folder:x?flip=maybe", "yes or no"),
        ("folder:x?counts=any", "unknown option"),
        ("cub200:x?count=any", "did you mean 'counts'"),
        ("csv:x?min_images=0", "whole number from 1"),
    ],
)
def test_wrong_specs_are_wrong_usage(spec: str, says: str) -> None:
    with pytest.raises(UsageFailure, match=says) as caught:
        open_data(spec)
    assert "\n" not in str(caught.value)


def test_plain_path_gets_its_cure(folders: Path) -> None:
    with pytest.raises(UsageFailure, match=f"write folder:{folders}"):
        open_data(str(folders))


@pytest.mark.parametrize("kind", sorted(name for name, kind in KINDS.items() if kind.path))
def test_nothing_at_the_path(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no such file or folder") as caught:
        open_data(f"{kind}:{tmp_path / 'none'}")
    assert caught.value.exit_code == 1 and caught.value.cure


def test_file_where_a_folder_belongs_and_the_reverse(folders: Path) -> None:
    with pytest.raises(Failure, match="is a file.*takes a folder"):
        open_data(f"folder:{folders / 'ant' / '0.png'}")
    with pytest.raises(Failure, match="is a folder.*takes a file"):
        open_data(f"csv:{folders}")
    with pytest.raises(Failure, match="not a usable path|no such file"):
        open_data("folder:a\0b")


def test_options_of_paths(folders: Path, stderr: Callable[[], str]) -> None:
    assert open_data(f"folder:{folders}").flip
    images = open_data(f"folder:{folders}?flip=no,min_images=3")
    assert not images.flip and images.classes == ("ant", "cat")
    assert "2 classes with fewer than 3 images are left out" in stderr()
    with pytest.raises(Failure, match="no class has 9 images.*the largest has 4"):
        open_data(f"folder:{folders}?min_images=9")


def test_path_with_a_question_mark_and_colons(folders: Path) -> None:
    odd = folders.rename(folders.with_name("what?flip=no,c:d"))
    assert open_data(f"folder:{odd}").flip
    assert not open_data(f"folder:{odd}?flip=no").flip


def test_home_folder(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folders.parent))
    monkeypatch.setenv("USERPROFILE", str(folders.parent))
    assert len(open_data("folder:~/folders")) == 10


@given(
    st.text(max_size=30),
    st.sampled_from(["", "glyphs:", "glyphs:size=", "folder:no-such-place?", "csv:no-such-place?min_images="]),
)
def test_any_text_opens_or_fails_in_one_line(text: str, start: str) -> None:
    try:
        open_data(start + text)
    except Failure as failure:
        assert failure.what


def test_every_kind_is_named_in_the_help() -> None:
    assert [name for name, _ in KINDS.items()] == KINDS.names()
    assert all(name in data_help() for name in KINDS)


def test_a_kind_of_another_package(folders: Path) -> None:
    kind = DataKind(open_folder, "a folder", {"flip": yes_or_no})
    with KINDS.added("mine", kind):
        images = open_data(f"mine:{folders}?flip=no")
        assert len(images) == 10 and not images.flip
        with pytest.raises(UsageFailure, match="did you mean 'mine'"):
            open_data("min:x")


def test_light_imports() -> None:
    code = (
        "import sys, distill.data.spec, distill.data.split, distill.data.batches, distill.data.store\n"
        "import distill.data.glyphs, distill.data.cars196, distill.data.lfw, distill.data.csv_file\n"
        "heavy = {'torch', 'tensorflow', 'matplotlib', 'scipy', 'sklearn', 'timm', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
