"""Draws the images of an export: calibration images set the int8 ranges, check images test the result.

By default both come from the train part of the checkpoint's own data, because Recall@K is later measured on the test
classes. For the same reason the test classes are left out of another data set that holds them. The two sets are disjoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.console import Failure, warn
from distill.data.preprocess import Preprocessing
from export.bundle.schema import Calibration
from export.samples.golden import GoldenImages, golden_images

if TYPE_CHECKING:
    from distill.data.imageset import ImageSet
    from distill.data.known import Known

__all__ = ["CHECK_IMAGES", "CalibrationImages", "ExportSamples", "choose_samples", "plain_text"]

CHECK_IMAGES = 64


@dataclass(frozen=True)
class CalibrationImages:
    """Images that set the int8 ranges.

    The first image gets a black and a white pixel in its top left corner. The input range then covers
    all pixel values, not only those in these images: with mean = std = 128 it is
    -1..127/128, so that scale is 1/128, zero point 0, and the int8 input ``pixel - 128``.

    Attributes:
        pixels: uint8 ``[N, side, side, 3]``, preprocessed.
        preprocessing: preprocessing of the checkpoint.
        marked: whether ``scaled`` adds the two pixels; ``False`` for comparing outputs.
    """

    pixels: np.ndarray
    preprocessing: Preprocessing
    marked: bool = True

    def __len__(self) -> int:
        return len(self.pixels)

    def scaled(self) -> Iterator[np.ndarray]:
        """Yield the images one by one as the network takes them: float32 ``[1, side, side, 3]``."""
        for index, image in enumerate(self.pixels):
            if index == 0 and self.marked:
                image = image.copy()
                image[0, 0], image[0, 1] = 0, 255
            yield self.preprocessing.scale(image[None]).astype(np.float32)


@dataclass(frozen=True)
class ExportSamples:
    """All images of an export.

    Attributes:
        calibration: calibration images; ``None`` if none were requested.
        record: their record for ``bundle.json``.
        check_pixels: check images, uint8 ``[M, side, side, 3]``, preprocessed.
        check_keys: their keys, as valid UTF-8.
        golden: golden images, the first of the check images.
        data: description of the data set, its part and the seed.
        source: the whole part of the data set that the images were drawn from.
        held_out: keys of the check images in ``source``.
    """

    calibration: CalibrationImages | None
    record: Calibration | None
    check_pixels: np.ndarray
    check_keys: tuple[str, ...]
    golden: GoldenImages
    data: str
    source: ImageSet
    held_out: tuple[str, ...]


def choose_samples(
    preprocessing: Preprocessing,
    data: dict[str, Any],
    spec: str | None,
    count: int,
    seed: int,
    check_images: int = CHECK_IMAGES,
) -> ExportSamples:
    """Draw disjoint calibration and check images.

    Args:
        preprocessing: preprocessing of the checkpoint.
        data: the checkpoint's record of its training data, see :class:`distill.data.known.Known`.
        spec: another data set; ``None``: the train part of the checkpoint's own data. If it holds classes of the
            checkpoint's data, only those that were trained on are used, else everything.
        count: number of calibration images, fewer if the data set is small; 0 for none.
        seed: seed of the draw.
        check_images: number of check images.

    Raises:
        Failure: no data set is known, it has too few readable images, or only ones of test classes.
    """
    own = data.get("spec")
    source = spec or own
    if not source:
        raise Failure("the checkpoint does not say what it was trained on", "give --calibration-data SPEC")
    images, split_rule, part = _open(str(source), data)
    fingerprint = images.fingerprint()
    if source == own and data.get("fingerprint") not in (None, fingerprint):
        warn(f"{source}: not the images that the checkpoint was trained on (the fingerprints differ)")
    order = np.random.default_rng(seed).permutation(len(images))
    check_images = min(check_images, max(1, len(images) // 4))
    if count and count + check_images > len(images):
        warn(
            f"{source}: {len(images)} images in its {part} part: "
            f"{len(images) - check_images} calibrate instead of {count}"
        )
    chosen = images.select(order[: count + check_images])
    pixels, rows, keys = _read(chosen, preprocessing)
    if count:  # unreadable images may have left fewer than planned
        check_images = min(check_images, max(1, len(pixels) // 2))
    if len(pixels) < (2 if count else 1):
        raise Failure(f"{source}: {len(pixels)} readable image in its {part} part", "give another --calibration-data")
    calibrating = pixels[check_images : check_images + count]
    record = None
    if count:
        record = Calibration(
            data=plain_text(str(source)),
            split=split_rule,
            part=part,
            fingerprint=fingerprint,
            seed=seed,
            count=len(calibrating),
            keys=keys[check_images : check_images + count],
            pixels_sha256=tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in calibrating),
        )
    return ExportSamples(
        calibration=CalibrationImages(calibrating, preprocessing) if count else None,
        record=record,
        check_pixels=pixels[:check_images],
        check_keys=keys[:check_images],
        golden=golden_images(chosen, rows, pixels[:check_images], keys[:check_images], preprocessing),
        data=f"{plain_text(str(source))} ({part} part, seed {seed})",
        source=images,
        held_out=tuple(chosen.keys[row] for row in rows[:check_images]),
    )


def _open(source: str, data: dict[str, Any]) -> tuple[ImageSet, str, str]:
    """Open what may calibrate: the images, the split rule and the part."""
    from distill.data.known import Known, named, of_classes, part_for, reopened
    from distill.data.spec import open_data

    images = open_data(source)
    known = Known.of(data)
    if source == data.get("spec"):
        if not data.get("split"):
            return images, "", "all"
        train, rule = part_for(images, data, "train")
        return train, rule, "train"
    if not images.labelled:
        return _open_unlabelled(images, data, known)
    if not known.trained.isdisjoint(images.classes):
        train, rule = part_for(images, data, "train")
        _say_left_out(images, train)
        return train, rule, "train"
    # An older checkpoint does not name its test classes, but its data may still be there.
    tested = (known.tested or reopened(data).tested).intersection(images.classes)
    if tested:
        rest = of_classes(images, set(images.classes) - tested)
        if not len(rest):
            raise Failure(
                f"{source}: all its classes are test classes of the checkpoint ({named(tested)}), on which Recall@K is measured",
                "leave out --calibration-data, or give other images",
            )
        _say_left_out(images, rest)
        return rest, "without the test classes", "train"
    renamed = known.classes_with_known_images(images)
    if renamed:
        warn(
            f"{source}: holds images that the checkpoint was trained on, under other class names ({named(renamed)}): "
            "leave its test classes out of --calibration-data"
        )
    return images, "", "all"


def _open_unlabelled(images: ImageSet, data: dict[str, Any], known: Known) -> tuple[ImageSet, str, str]:
    """Open images without labels, of which only the content tells whether the checkpoint knows them."""
    from distill.data.known import part_for

    if not len(known.known_images(images)):
        return images, "", "all"
    if not known.labelled:
        train, rule = part_for(images, data, "train")
        return train, rule, "train"
    warn(
        f"{images.spec}: holds images that the checkpoint was trained on, without their labels: "
        "leave its test images out of --calibration-data"
    )
    return images, "", "all"


def _say_left_out(images: ImageSet, kept: ImageSet) -> None:
    if len(kept) < len(images):
        warn(
            f"{images.spec}: {len(images) - len(kept)} of {len(images)} images do not calibrate: the checkpoint was not trained "
            f"on their {len(images.classes) - len(kept.classes)} classes, on which Recall@K is measured"
        )


def _read(images: ImageSet, preprocessing: Preprocessing) -> tuple[np.ndarray, list[int], tuple[str, ...]]:
    from distill.data.batches import pixel_batches

    parts: list[np.ndarray] = []
    order: list[int] = []
    for pixels, indices in pixel_batches(images, preprocessing, label="reading images"):
        parts.append(pixels)
        order.extend(int(index) for index in indices)
    return np.concatenate(parts), order, tuple(plain_text(images.keys[index]) for index in order)


def plain_text(text: str) -> str:
    """Return the text as valid UTF-8: file names may be arbitrary bytes, ``bundle.json`` may not."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
