"""The manifest requests only what is needed; all texts are string resources; every control has a label."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

MAIN = Path(__file__).parents[2] / "android_demo/app/src/main"
RES = MAIN / "res"
A = "{http://schemas.android.com/apk/res/android}"
MANIFEST = ET.parse(MAIN / "AndroidManifest.xml").getroot()
LAYOUTS = sorted(RES.glob("layout*/*.xml"))
SOURCES = sorted((MAIN / "java").rglob("*.java"))


def strings() -> dict[str, str]:
    root = ET.parse(RES / "values/strings.xml").getroot()
    return {item.get("name", ""): "".join(item.itertext()) for item in root}


def test_permissions():
    asked = {item.get(f"{A}name"): item.get(f"{A}maxSdkVersion") for item in MANIFEST.findall("uses-permission")}
    assert asked == {
        "android.permission.READ_MEDIA_IMAGES": None,
        "android.permission.READ_EXTERNAL_STORAGE": "32",
    }


def test_exported_is_what_the_launcher_starts_and_nothing_else():
    parts = [item for kind in ("activity", "service", "receiver", "provider") for item in MANIFEST.iter(kind)]
    exported = {item.get(f"{A}name"): item.get(f"{A}exported") for item in parts}
    assert len(exported) == 6 and None not in exported.values()
    assert [name for name, value in exported.items() if value != "false"] == ["org.distilltophone.app.MainActivity"]
    service = MANIFEST.find("application/service")
    assert service is not None and service.get(f"{A}permission") == "android.permission.BIND_JOB_SERVICE"


def test_no_backup():
    application = MANIFEST.find("application")
    assert application is not None
    assert application.get(f"{A}allowBackup") == "false" and application.get(f"{A}fullBackupContent") == "false"
    assert application.get(f"{A}dataExtractionRules") == "@xml/data_extraction_rules"
    root = ET.parse(RES / "xml/data_extraction_rules.xml").getroot()
    for way in ("cloud-backup", "device-transfer"):
        left_out = {item.get("domain") for item in root.findall(f"{way}/exclude") if item.get("path") == "."}
        assert left_out == {"root", "file", "database", "sharedpref", "external"}


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_layouts_hold_no_texts_and_every_image_has_a_label(path):
    for view in ET.parse(path).getroot().iter():
        for attribute in ("text", "contentDescription", "hint", "title"):
            value = view.get(f"{A}{attribute}")
            assert value is None or value.startswith("@string/"), f"{view.tag}: {value}"
        if view.tag in {"ImageView", "ImageButton", "ProgressBar"} or view.tag.endswith("ImageView"):
            silent = view.get(f"{A}importantForAccessibility") == "no"
            assert silent or view.get(f"{A}contentDescription"), f"{path.name}: a {view.tag} without a label"
        for attribute in ("textColor", "background"):
            value = view.get(f"{A}{attribute}")
            assert value is None or not value.startswith("#"), f"{value}: a colour that does not follow the night"


def test_sources_hold_no_words():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"set(Text|Title|Message|ContentDescription|PositiveButton|NegativeButton)\(\"[^\"]+\"", text
        ), path


def test_every_string_is_used_and_there():
    used = set()
    for path in [*SOURCES, *LAYOUTS, *RES.glob("menu/*.xml"), MAIN / "AndroidManifest.xml"]:
        used |= set(re.findall(r"(?:R\.(?:string|plurals)\.|@string/)(\w+)", path.read_text(encoding="utf-8")))
    assert used == set(strings())


def test_plain_words():
    for name, text in strings().items():
        assert text.strip() and not re.search(r"(?i)\boops\b|!|please|simply|awesome", text), name


def test_night_has_every_colour():
    def names(folder: str) -> set[str | None]:
        return {item.get("name") for item in ET.parse(RES / folder / "colors.xml").getroot()}

    assert names("values") - names("values-night") == {"icon_background"}


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (3, 5, 7)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("folder", ["values", "values-night"])
@pytest.mark.parametrize(
    ("front", "back"),
    [
        ("text", "surface"),
        ("text", "card"),
        ("text_quiet", "surface"),
        ("text_quiet", "card"),
        ("on_primary", "primary"),
        ("primary", "surface"),
        ("warning", "surface"),
    ],
)
def test_contrast(folder, front, back):
    """WCAG 2.1 AA for text: 4.5."""
    colours = {item.get("name"): item.text or "" for item in ET.parse(RES / folder / "colors.xml").getroot()}
    light, dark = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_framework_classes_only():
    for path in SOURCES:
        imported = re.findall(r"^import ([\w.]+);", path.read_text(encoding="utf-8"), flags=re.M)
        roots = {name.split(".")[0] for name in imported}
        assert roots <= {"android", "java", "org"}, path
        assert not [name for name in imported if name.startswith(("java.net", "android.net.http", "javax"))], path
        assert not [
            name
            for name in imported
            if name.startswith("org.") and not name.startswith(("org.distilltophone.", "org.tensorflow.lite."))
        ], path
