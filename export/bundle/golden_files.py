"""From a golden file to golden pixels on this machine: decode, resize, crop, each step compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.data.decode import decode
from distill.data.imageset import UnreadableImage
from export.bundle.read import Bundle, load_bundle
from export.bundle.schema import GoldenFile
from export.bundle.verdict import Finding

__all__ = ["JPEG_LARGEST", "JPEG_MEAN", "FileVerdict", "verify_golden_files"]

# Decoders of JPEG may differ by a level or two, more where colour planes are enlarged; after the resize:
JPEG_MEAN, JPEG_LARGEST = 1.0, 32


@dataclass(frozen=True, kw_only=True)
class FileVerdict(Finding):
    """One golden file on this machine.

    Attributes:
        decoded: whether the decoded, upright pixels are those recorded, to the bit.
        resized: whether the pixels after resize and crop are, to the bit.
        max_level_diff: their largest difference in pixel values; ``None`` where there are none.
        problem: as everywhere; a JPEG may differ a little.
    """

    file: str
    decoded: bool
    resized: bool
    max_level_diff: int | None


def verify_golden_files(directory: Path) -> list[FileVerdict]:
    """Take every golden file through this machine's decoder and resize.

    Raises:
        Failure: the bundle itself is damaged (see ``load_bundle``).
    """
    bundle = load_bundle(directory)
    pixels = bundle.golden_pixels()
    return [_verify(bundle, file, pixels[file.row]) for file in bundle.manifest.golden.files]


def _verify(bundle: Bundle, file: GoldenFile, expected: np.ndarray) -> FileVerdict:
    try:
        upright = decode(bundle.path(file).read_bytes(), file.file)
    except UnreadableImage as error:
        return FileVerdict(file=file.file, decoded=False, resized=False, max_level_diff=None, problem=str(error))
    if upright.size != (file.width, file.height):
        found = f"{upright.width} x {upright.height} pixels instead of {file.width} x {file.height}"
        return FileVerdict(
            file=file.file,
            decoded=False,
            resized=False,
            max_level_diff=None,
            problem=f"{found}: is the EXIF orientation obeyed?",
        )
    decoded = hashlib.sha256(upright.tobytes()).hexdigest() == file.decoded_sha256
    got = bundle.manifest.preprocessing.pixels(upright)
    resized = hashlib.sha256(got.tobytes()).hexdigest() == file.pixels_sha256
    levels = np.abs(got.astype(int) - expected)
    largest = int(levels.max())
    problem = ""
    if resized != (largest == 0):
        problem = "its hash is not that of the golden pixels"
    elif decoded and not resized:
        problem = f"decoded rightly, but resized otherwise: up to {largest} levels off"
    elif not decoded and file.lossless:
        problem = "a PNG that this machine decodes otherwise"
    elif largest > JPEG_LARGEST or levels.mean() > JPEG_MEAN:
        problem = f"decoded otherwise than any JPEG decoder should: up to {largest} levels off"
    return FileVerdict(file=file.file, decoded=decoded, resized=resized, max_level_diff=largest, problem=problem)
