"""What programs on a device tell us: marked lines of JSON, and what can be done about their errors."""

from __future__ import annotations

import json
from collections.abc import Iterable

from benchmark.devices.bootstrap import MARK
from benchmark.devices.side import FarSide, Message
from distill.console import Failure

__all__ = ["marked", "refused"]


def marked(lines: Iterable[str]) -> list[Message]:
    """Our own lines among whatever a login shell prints."""
    found = []
    for line in lines:
        _, mark, text = line.partition(MARK)
        if mark:
            try:
                found.append(json.loads(text))
            except ValueError:
                continue  # cut off in the middle: the end is missing, which is noticed elsewhere
    return found


def refused(side: FarSide, why: str) -> Failure:
    """The failure for an error that a program there told."""
    cure = side.cure
    if "No space left" in why or "ENOSPC" in why:
        cure = "free some space there, or --remote-folder PATH on another disk"
    elif "another measurement" in why:
        cure = "wait for it, or end that process there"
    elif why.startswith("processors"):
        cure = "name others: --cpus"
    elif "cannot be decoded there" in why:
        cure = (
            "Pillow is needed there: pip install pillow" if "PIL" in why else "--from pixels decodes on this computer"
        )
    return Failure(f"{side.where}: {why}", cure)
