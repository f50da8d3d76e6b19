"""Pack the files of this project that run on a remote device into one program for its Python."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

__all__ = ["BOOTSTRAP", "SOURCES", "parcel"]

ROOT = Path(__file__).parents[2]
BOOTSTRAP = "benchmark/devices/bootstrap.py"

# They import the standard library, NumPy, the engines and each other (a test checks this); those that decode
# images also Pillow, and are imported only for that.
SOURCES = (
    "distill/console/errors.py",
    "distill/data/imageset.py",
    "distill/data/decode.py",
    "export/bundle/quiet.py",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "export/bundle/engines").glob("[!_]*.py")),
    "benchmark/plan.py",
    "benchmark/timing.py",
    "benchmark/system.py",
    "benchmark/devices/work.py",
    "benchmark/devices/images.py",
    BOOTSTRAP,
    "benchmark/devices/runner.py",
)
START = "import sys\nfrom benchmark.devices.runner import main\nsys.exit(main(sys.argv[1:]))\n"


def parcel() -> bytes:
    """Return a zip that ``python3 FILE`` runs. The same sources always give the same bytes."""
    # Empty __init__ files: the real ones import what the device lacks.
    folders = {str(parent) for name in SOURCES for parent in Path(name).parents if str(parent) != "."}
    content = {f"{folder}/__init__.py": b"" for folder in folders}
    content |= {name: (ROOT / name).read_bytes() for name in SOURCES}
    content["__main__.py"] = START.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(content):
            archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content[name])
    return buffer.getvalue()
