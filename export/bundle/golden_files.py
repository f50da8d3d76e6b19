"""Check how this machine decodes, resizes and crops the golden files, step by step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.data.decode import decode
from distill.data.imageset import UnreadableImage
from export.bundle.finding import Finding
from export.bundle.read import Bundle, load_bundle
from export.bundle.schema import GoldenFile

__all__ = ["JPEG_LARGEST", "JPEG_MEAN", "FileCheck", "verify_golden_files"]

# Limits after the resize, in levels. JPEG decoders differ by a level or two, and by more where they upsample chroma.
JPEG_MEAN, JPEG_LARGEST = 1.0, 32
DECODE_CURE = "compare Pillow's version with the one in the bundle, or export again"


@dataclass(frozen=True, kw_only=True)
class FileCheck(Finding):
    """One golden file on this machine.

    Attributes:
        file: path inside the bundle.
        decoded: whether the decoded, upright pixels are exactly those recorded.
        resized: whether the pixels after resize and crop are exactly those recorded.
        max_level_diff: largest difference between the resized pixels, 0..255; ``None`` if there are none.
    """

    file: str
    decoded: bool
    resized: bool
    max_level_diff: int | None


def verify_golden_files(directory: Path) -> list[FileCheck]:
    """Decode, resize and crop every golden file on this machine, and compare the pixels.

    Raises:
        Failure: the bundle itself is damaged (see ``load_bundle``).
    """
    bundle = load_bundle(directory)
    pixels = bundle.golden_pixels()
    return [_verify(bundle, file, pixels[file.row]) for file in bundle.manifest.golden.files]


def _verify(bundle: Bundle, file: GoldenFile, expected: np.ndarray) -> FileCheck:
    def undecoded(problem: str) -> FileCheck:
        return FileCheck(
            file=file.file, decoded=False, resized=False, max_level_diff=None, problem=problem, cure=DECODE_CURE
        )

    try:
        upright = decode(bundle.path(file).read_bytes(), file.file)
    except UnreadableImage as error:
        return undecoded(str(error))
    if upright.size != (file.width, file.height):
        found = f"{upright.width} x {upright.height} pixels instead of {file.width} x {file.height}"
        return undecoded(f"{found}: is the EXIF orientation applied?")
    decoded = hashlib.sha256(upright.tobytes()).hexdigest() == file.decoded_sha256
    got = bundle.manifest.preprocessing.pixels(upright)
    resized = hashlib.sha256(got.tobytes()).hexdigest() == file.pixels_sha256
    levels = np.abs(got.astype(int) - expected)
    largest = int(levels.max())
    problem, cure = "", DECODE_CURE
    if resized != (largest == 0):
        problem = "its pixels_sha256 is not that of its row in golden/pixels.u8"
        cure = "export again: the bundle contradicts itself"
    elif decoded and not resized:
        problem = f"decoded correctly, but resized differently: up to {largest} levels off"
    elif not decoded and file.lossless:
        problem = "a PNG that this machine decodes differently"
    elif largest > JPEG_LARGEST or levels.mean() > JPEG_MEAN:
        problem = f"decoded differently from any correct JPEG decoder: up to {largest} levels off"
    return FileCheck(
        file=file.file,
        decoded=decoded,
        resized=resized,
        max_level_diff=largest,
        problem=problem,
        cure=cure if problem else "",
    )
