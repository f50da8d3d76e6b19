"""The Gradle build for Android Studio and the Maven build describe the same app.

Gradle is not run here, because its Android plugin is on Google's Maven; the tests compare the build files instead.
"""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "android_demo"
MAVEN = {"m": "http://maven.apache.org/POM/4.0.0"}


def properties(pom: Path) -> dict[str, str]:
    found = ET.parse(pom).getroot().find("m:properties", MAVEN)
    return (
        {}
        if found is None
        else {item.tag.partition("}")[2]: item.text or "" for item in found if isinstance(item.tag, str)}
    )


def gradle(module: str) -> str:
    """Return a build file without its comments."""
    text = (DEMO / module / "build.gradle").read_text(encoding="utf-8")
    return re.sub(r"(?m)^\s*//.*$", "", text)


def setting(text: str, name: str) -> str:
    found = re.findall(rf"(?m)^\s*{name}\s*=?\s*'?([\w.]+)'?\s*$", text)
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


PARENT, APP = properties(DEMO / "pom.xml"), properties(DEMO / "app" / "pom.xml")


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert PARENT["revision"] == version == setting(gradle("app"), "versionName")
    assert APP["android.version.code"] == setting(gradle("app"), "versionCode")


@pytest.mark.parametrize(
    ("in_gradle", "in_maven"), [("minSdk", "android.min.sdk"), ("targetSdk", "android.target.sdk")]
)
def test_sdk_levels(in_gradle, in_maven):
    assert setting(gradle("app"), in_gradle) == APP[in_maven]
    for module in ("app", "tflite", "decoder"):
        assert int(setting(gradle(module), "compileSdk")) >= int(APP["android.target.sdk"])
        assert setting(gradle(module), "minSdk") == APP["android.min.sdk"]


def test_names():
    pack = (DEMO / "pack.py").read_text(encoding="utf-8")
    assert f'R_PACKAGE = "{setting(gradle("app"), "namespace")}"' in pack
    assert f'APPLICATION_ID = "{setting(gradle("app"), "applicationId")}"' in pack
    manifest = (DEMO / "app/src/main/AndroidManifest.xml").read_text(encoding="utf-8")
    assert "package=" not in manifest, "Gradle refuses it; pack.py adds it"


def test_the_modules_of_the_app():
    settings = (DEMO / "settings.gradle").read_text(encoding="utf-8")
    included = set(re.findall(r"':(\w+)'", settings))
    dependencies = ET.parse(DEMO / "app/pom.xml").getroot().findall("m:dependencies/m:dependency", MAVEN)
    own = {
        item.findtext("m:artifactId", "", MAVEN)
        for item in dependencies
        if item.findtext("m:groupId", "", MAVEN) == "org.distilltophone"
        and item.findtext("m:scope", "", MAVEN) != "test"
    }
    assert included == own | {"app"}
    assert own == set(re.findall(r"project\(':(\w+)'\)", gradle("app")))
    # Maven unpacks TensorFlow Lite, because it cannot read an AAR. Gradle can, and uses LiteRT.
    assert "com.google.ai.edge.litert:litert:1." in gradle("tflite") and "litert" not in gradle("app")
    for module in own - {"core"}:
        assert setting(gradle(module), "namespace") == f"org.distilltophone.{module}"
        packages = {
            path.parent.relative_to(DEMO / module / "src/main/java") for path in (DEMO / module / "src").rglob("*.java")
        }
        assert packages == {Path("org/distilltophone") / module}


def test_libraries_of_core():
    wanted = f"com.eclipsesource.minimal-json:minimal-json:{PARENT['minimal-json.version']}"
    assert wanted in gradle("core")
    dependencies = ET.parse(DEMO / "core/pom.xml").getroot().findall("m:dependencies/m:dependency", MAVEN)
    needed = [
        item.findtext("m:artifactId", "", MAVEN)
        for item in dependencies
        if item.findtext("m:scope", "", MAVEN) != "test"
    ]
    assert needed == ["minimal-json"]


def test_sources_lie_where_both_look_for_them():
    for module in ("app", "core", "tflite", "decoder"):
        assert list((DEMO / module / "src/main/java").rglob("*.java"))
        assert "java.srcDirs" not in re.sub(r"test\.java\.srcDirs", "", gradle(module))
        assert "<sourceDirectory>" not in (DEMO / module / "pom.xml").read_text(encoding="utf-8")


def test_java_level():
    assert PARENT["maven.compiler.release"] == "8"
    for module in ("app", "core", "tflite", "decoder"):
        assert set(re.findall(r"JavaVersion\.VERSION_(\w+)", gradle(module))) == {"1_8"}


def test_what_is_stored_uncompressed():
    pack = re.search(r"UNCOMPRESSED = \((.*)\)", (DEMO / "pack.py").read_text(encoding="utf-8"))
    listed = re.search(r"noCompress (.*)", gradle("app"))
    assert listed and pack
    stored = set(re.findall(r'"\.(\w+)"', pack[1]))
    assert set(re.findall(r"'(\w+)'", listed[1])) == stored >= {"tflite", "gallery"}


def test_processors():
    listed = re.search(r"include (.*)", gradle("app"))
    pack = re.search(r"ABIS = \((.*)\)", (DEMO / "pack.py").read_text(encoding="utf-8"))
    assert listed and pack
    assert set(re.findall(r"'([\w-]+)'", listed[1])) == set(re.findall(r'"([\w-]+)"', pack[1]))
