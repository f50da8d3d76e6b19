"""Keep results in a folder and group them into series over time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmark.differences import measures
from benchmark.result import Result, read_result, write_result
from distill.console import Failure, warn

__all__ = ["Series", "add", "read_all", "series"]


def add(folder: Path, result: Result) -> Path:
    """Write ``result`` into ``folder`` under its time and the bundle's name; never overwrite another one."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", result.bundle.name).strip("-.")[:60] or "bundle"
    stem = f"{datetime.fromisoformat(result.created):%Y%m%dT%H%M%SZ}-{name}"
    path = folder / f"{stem}.json"
    number = 2
    while path.exists():
        path = folder / f"{stem}-{number}.json"
        number += 1
    write_result(path, result)
    return path


def read_all(paths: list[Path]) -> list[tuple[str, Result]]:
    """Read results from files and folders (their ``*.json``), oldest first, with the names of the files.

    A file in a folder that is no result is skipped with a warning; a file given by name must be one.

    Raises:
        Failure: a file given by name is no result, or there are no results.
    """
    found = []
    for path in paths:
        if not path.is_dir():
            found.append((path.stem, read_result(path)))
            continue
        for file in sorted(path.glob("*.json")):
            try:
                found.append((file.stem, read_result(file)))
            except Failure as failure:
                warn(f"skipped: {failure.what}")
    if not found:
        raise Failure(f"{', '.join(map(str, paths))}: no results", "write some with distill-bench BUNDLE --history DIR")
    return sorted(found, key=lambda entry: (datetime.fromisoformat(entry[1].created), entry[0]))


@dataclass(frozen=True)
class Series:
    """One variant on one device and one set of images, over time."""

    variant: str
    device: str
    data: str
    results: list[Result]  # each contains the variant

    def as_json(self, last: int) -> dict[str, Any]:
        """Return plain values of the last results, oldest first; measures by name, null where not measured."""
        rows = [
            {"created": result.created, "pass": result.verdict.passed}
            | {measure.name: measure.value(result.variant(self.variant)) for measure in measures(result)}
            for result in self.results[-last:]
        ]
        units = {measure.name: measure.unit for measure in measures(self.results[-1])}
        return {"variant": self.variant, "device": self.device, "data": self.data, "units": units, "results": rows}


def series(results: list[Result], only: str | None = None) -> list[Series]:
    """Group results into comparable series, in the order of first appearance.

    Args:
        only: Name of a single variant.
    """
    found: dict[tuple[str, str, str, str], Series] = {}
    for result in results:
        for variant in result.variants:
            if only in (None, variant.name):
                machine, data = result.machine, result.data
                key = (variant.name, machine.device, machine.cpu, data.fingerprint)
                text = f"{data.images:,} images, {data.part} part of {data.spec}"
                entry = found.setdefault(key, Series(variant.name, f"{machine.device}: {machine.cpu}", text, []))
                entry.results.append(result)
    return list(found.values())
