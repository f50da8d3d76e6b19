"""What a run knows of its images, and whether another image set holds them, whatever their data specs say.

Two specs may open the same images: another order of options, another path, another kind. Classes are therefore compared
by name and, where no name agrees or there are no labels, images by content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.console.errors import Failure, UsageFailure
from distill.console.progress import note, warn
from distill.data.imageset import MISSING, ImageSet
from distill.data.spec import open_data
from distill.data.split import Part, default_rule, part_labels, split

__all__ = [
    "Known",
    "named",
    "of_classes",
    "part_for",
    "reopened",
    "shared_images",
    "unlabelled_tests",
    "warn_of_trained",
]

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Known:
    """The images of a run as ``model.json`` records them.

    Attributes:
        trained: names of the classes trained on.
        validation, tested: names of the classes held out; empty in older records.
        seen_unlabelled: names of test classes whose images were among ``--unlabelled``.
        sample: digests of some images trained on, 16 hex digits each; empty where content does not tell
            images apart, as with ``glyphs``.
        labelled: whether the images have labels; if not, there are no names of classes.
    """

    trained: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    tested: frozenset[str] = frozenset()
    seen_unlabelled: frozenset[str] = frozenset()
    sample: frozenset[str] = frozenset()
    labelled: bool = True

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Known:
        """Read a record of data. Bundles hold numbers where ``model.json`` holds names: these count as unknown."""

        def names(field: str) -> frozenset[str]:
            value = record.get(field)
            return frozenset(map(str, value)) if isinstance(value, list | tuple) else frozenset()

        return cls(
            names("classes"),
            names("validation_classes"),
            names("test_classes"),
            names("unlabelled_test_classes"),
            names("image_sample"),
            record.get("labels") is not False,
        )

    def shares_classes(self, images: ImageSet) -> bool:
        """Whether a class of ``images`` has the name of a class of the run."""
        return images.labelled and not (self.trained | self.validation | self.tested).isdisjoint(images.classes)

    def known_images(self, images: ImageSet) -> np.ndarray:
        """Return the indices of the sampled images of the run among ``images``, int64, ascending. Reads all files."""
        if not self.sample:
            return np.empty(0, np.int64)
        return np.array([i for i, digest in enumerate(images.digests()) if digest.hex()[:16] in self.sample], np.int64)

    def classes_with_known_images(self, images: ImageSet) -> list[str]:
        """Return the classes of ``images`` that hold a sampled image of the run. Reads all files."""
        return [images.classes[label] for label in np.unique(images.labels[self.known_images(images)])]


def reopened(record: Mapping[str, Any]) -> Known:
    """Return the classes of a record that does not name them, from its data set if that still opens; else nothing."""
    spec, rule, validation = (record.get(field) for field in ("spec", "split", "validation"))
    if not isinstance(spec, str) or not rule:
        return Known()
    try:
        images = open_data(spec)
        labels = part_labels(images, str(rule), float(validation or 0.0))
    except (Failure, UsageFailure, TypeError, ValueError):
        return Known()
    names = {part: frozenset(images.classes[label] for label in found) for part, found in labels.items()}
    return Known(names["train"], names["validation"], names["test"])


def of_classes(images: ImageSet, names: Iterable[str]) -> ImageSet:
    """Return the images of the classes with these names."""
    wanted = set(names)
    return images.select(np.isin(images.labels, [i for i, name in enumerate(images.classes) if name in wanted]))


def named(names: Iterable[str], limit: int = 3) -> str:
    """Return the first names of a sorted list, for a message."""
    given = sorted(names)
    return ", ".join(given[:limit]) + (", …" if len(given) > limit else "")


def part_for(images: ImageSet, record: Mapping[str, Any], part: Part, rule: str | None = None) -> tuple[ImageSet, str]:
    """Return one part of ``images`` as the run of ``record`` would split them, and the rule in words.

    Without ``rule``, images of the run's classes are split as the run split them: by its rule, or by the names of its
    classes if the rule cuts these images elsewhere (a subset, for example). Other images are split in half.

    Args:
        images: the whole data set.
        record: ``data`` of ``model.json``.
        part: ``train``, ``validation``, ``test`` or ``all``.
        rule: split rule that the user asked for.

    Raises:
        UsageFailure, Failure: as :func:`distill.data.split.split`.
    """
    known = Known.of(record)
    same = _same(images, record, known)
    # Other images have no validation classes, unless they are asked for.
    held_out = part == "validation" or (part == "train" and same)
    validation = float(record.get("validation") or 0.0) if held_out else 0.0
    chosen = rule or (str(record.get("split") or default_rule(images)) if same else default_rule(images))
    by_rule = not (known.trained and known.shares_classes(images))  # also where all folders were renamed
    if rule or part not in _PARTS or by_rule or _agrees(images, known, chosen, record):
        return split(images, chosen, part, validation), chosen
    unseen = known.validation - known.trained
    names = {
        "train": known.trained.intersection(images.classes),
        "validation": unseen.intersection(images.classes),
        "test": set(images.classes) - known.trained - unseen,
    }[part]
    if not names:
        raise Failure(
            f"{images.spec}: none of its classes is in the {part} part of the run", "give --split, or other --data"
        )
    note(f"{images.spec}: split as the run was, by the names of its classes: {len(names)} {part} classes")
    return of_classes(images, names), "classes of the run"


def _same(images: ImageSet, record: Mapping[str, Any], known: Known) -> bool:
    """Whether ``images`` are those of the run, or a part or copy of them."""
    if images.labelled != known.labelled:
        return False
    if images.spec == record.get("spec"):
        return True
    return known.shares_classes(images) if images.labelled else len(known.known_images(images)) > 0


def _agrees(images: ImageSet, known: Known, rule: str, record: Mapping[str, Any]) -> bool:
    """Whether ``rule`` puts only classes trained on into the train part, and none of them into the test part."""
    try:
        parts = part_labels(images, rule, float(record.get("validation") or 0.0))
    except (Failure, UsageFailure):
        return False
    train, test = ({images.classes[label] for label in parts[part]} for part in ("train", "test"))
    return train <= known.trained and test.isdisjoint(known.trained | known.validation)


def unlabelled_tests(unlabelled: ImageSet, tests: ImageSet) -> tuple[str, ...]:
    """Return the names of the classes of ``tests`` of which ``unlabelled`` holds images: by name, or the same files."""
    found = set(tests.classes).intersection(unlabelled.classes if unlabelled.labelled else ())
    found |= {tests.classes[label] for label in tests.labels[shared_images(unlabelled, tests)]}
    return tuple(sorted(found))


def shared_images(unlabelled: ImageSet, tests: ImageSet) -> np.ndarray:
    """Return the indices of the images of ``tests`` whose content ``unlabelled`` holds, int64, ascending."""
    if not tests.sample():  # content does not tell images apart
        return np.empty(0, np.int64)
    there = set(unlabelled.digests()) - {MISSING}
    return np.array([i for i, digest in enumerate(tests.digests()) if digest in there], np.int64)


def warn_of_trained(images: ImageSet, known: Known, run: str, what: str) -> None:
    """Warn if ``images``, measured as unseen classes, are of classes that ``run`` was trained on.

    Args:
        images: the part that is measured.
        known: what the run was trained on.
        run: its folder, for the message.
        what: which images these are, e.g. ``"the test part"``.
    """
    if not images.labelled:
        again = len(known.known_images(images))
        if again:
            warn(
                f"{images.spec}: {again} or more of the {len(images)} images of {what} are images that {run} was trained on: "
                "the figures are higher than on new ones"
            )
        return
    count = len(images.classes)
    trained = known.trained.intersection(images.classes)
    if trained:
        warn(
            f"{images.spec}: {len(trained)} of the {count} classes of {what} are classes that {run} was trained on "
            f"({named(trained)}): Recall@K is higher than on new ones. Measure without --data and --split, or on other classes"
        )
        return
    if not known.shares_classes(images):
        renamed = known.classes_with_known_images(images)
        if renamed:
            how = "under other class names" if known.labelled else "without labels"
            warn(
                f"{images.spec}: {len(renamed)} or more of the {count} classes of {what} hold images that {run} was "
                f"trained on, {how} ({named(renamed)}): Recall@K is higher than on new ones"
            )
            return
    unlabelled = known.seen_unlabelled.intersection(images.classes)
    if unlabelled:
        warn(
            f"{images.spec}: {run} was trained on images of {len(unlabelled)} of the {count} classes of {what}, without "
            f"their labels ({named(unlabelled)}): Recall@K may be higher than on new ones"
        )
