from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.console.errors import Failure
from distill.data.csv_file import open_csv
from distill.data.imageset import UnreadableImage
from distill.data.spec import open_data
from distill.data.split import split


def table(folders: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folders / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_paths_and_classes(folders: Path) -> None:
    path = table(folders, "path,class\ndog/0.png,pet\nant/1.png,insect\nbee/0.png,insect\n")
    images = open_data(f"csv:{path}")
    assert images.classes == ("insect", "pet")
    assert images.keys == ("dog/0.png", "ant/1.png", "bee/0.png") and images.labels.tolist() == [1, 0, 0]
    assert images.read(1).size == (21, 15) and images.official is None


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ('\ufeffLabel;Image\nx;ant/0.png\n"y; z";bee/0.png\n', "utf-8"),
        ("id\tfilename\tCLASS\r\n1\tant/0.png\tx\r\n2\tbee/0.png\ty; z\r\n", "utf-8"),
        ("path,class,note\nant/0.png,x\n\nbee/0.png,y; z,more,even more\n", "utf-8"),
        (" path , class \n ant/0.png , x \nbee/0.png,y; z", "utf-8"),
    ],
)
def test_dialects(folders: Path, text: str, encoding: str) -> None:
    images = open_csv("s", table(folders, text, encoding))
    assert images.keys == ("ant/0.png", "bee/0.png") and images.classes == ("x", "y; z")


def test_absolute_and_upward_paths(folders: Path) -> None:
    (folders / "lists").mkdir()
    path = folders / "lists" / "a.csv"
    path.write_text(f"path,class\n{folders / 'ant' / '0.png'},x\n../bee/0.png,y\n")
    images = open_csv("s", path)
    assert [images.read(i).size for i in range(2)] == [(20, 15), (20, 16)]


def test_split_column_is_the_official_split(folders: Path) -> None:
    rows = "path,class,split\nant/0.png,a,test\nbee/0.png,b,Train\nbee/1.png,b,train\ncat/0.png,c,test\n"
    images = open_csv("s", table(folders, rows))
    assert split(images, "official", "train").classes == ("b",)
    assert split(images, "official", "test").classes == ("a", "c")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column 'path'"),
        ("path,clas\na,b\n", "no column 'class'.*path,class"),
        ("ant/0.png,x\n", "no column"),
        ("path,class\n", "lists no image"),
        ("path,class\nant/0.png,\n", "line 2: no class"),
        ("path,class\n ,x\n", "line 2: no path"),
        ("path,class\nant/0.png\n", "line 2: no class"),
        ("path,class\nant/0.png,x\nant/0.png,y\n", "line 3: ant/0.png was already in line 2"),
        ("path,class,split\nant/0.png,a,val\n", "line 2: split is 'val'"),
        ("path,class,split\nant/0.png,a,train\nant/1.png,a,test\n", "line 3: class a is both"),
        ("path,class\nno.png,x\nnone.png,y\n", "none of its 2 images exists"),
        ('path,class\n"ant/0.png,x\n', "line 2: unexpected end"),
        ("path,class\na\0b.png,x\n", "line 2"),
    ],
)
def test_broken_tables(folders: Path, text: str, says: str) -> None:
    with pytest.raises(Failure, match=says) as caught:
        open_csv("s", table(folders, text))
    assert caught.value.cure and "\n" not in str(caught.value)


def test_not_text(folders: Path) -> None:
    with pytest.raises(Failure, match="not UTF-8"):
        open_csv("s", table(folders, "path,class\nä,x\n", "latin-1"))


def test_missing_images_are_unreadable(folders: Path) -> None:
    images = open_csv("s", table(folders, "path,class\nant/0.png,x\ngone.png,x\n"))
    with pytest.raises(UnreadableImage, match="gone.png: No such file"):
        images.read(1)


@settings(deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=80), header=st.booleans())
def test_any_text_is_a_table_or_a_failure(tmp_path_factory: pytest.TempPathFactory, text: str, header: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes((("path,class,split\n" if header else "") + text).encode())
    try:
        open_csv("s", path)
    except Failure as failure:
        assert str(path) in failure.what


def test_keys_may_not_reach_the_fingerprint_unnoticed(folders: Path, save_image: Callable[..., Path]) -> None:
    rows = "path,class\nant/0.png,x\nbee/0.png,y\n"
    first = open_csv("s", table(folders, rows)).fingerprint()
    assert open_csv("s", table(folders, rows.replace(",y", ",x"))).fingerprint() != first
    save_image(folders / "bee" / "0.png", seed=5)
    assert open_csv("s", table(folders, rows)).fingerprint() != first
