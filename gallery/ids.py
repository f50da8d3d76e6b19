"""What may name a picture in a gallery."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["id_problem", "join_ids"]


def id_problem(name: str) -> str:
    """Why ``name`` cannot be an id; empty where it can.

    An id is a relative path with ``/``: whoever reads a gallery may join it to a folder, so it must
    not lead out of it.
    """
    if not name:
        return "is empty"
    if "\0" in name:
        return "holds a NUL"
    if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
        return "is not a plain relative path"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8"
    return ""


def join_ids(ids: Sequence[str]) -> tuple[bytes, list[int]]:
    """All ids as UTF-8, one after another, and where each starts (and the last ends).

    Raises:
        ValueError: one is impossible, or given twice.
    """
    for name in ids:
        if problem := id_problem(name):
            raise ValueError(f"id {name!r} {problem}")
    if len(set(ids)) != len(ids):
        raise ValueError("an id is given twice")
    offsets, encoded, end = [0], [], 0
    for name in ids:
        part = name.encode("utf-8")
        encoded.append(part)
        end += len(part)
        offsets.append(end)
    return b"".join(encoded), offsets
