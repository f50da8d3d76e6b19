"""The interface of the far side of a connection: our program on a device, its folder and its messages.

A :class:`~benchmark.devices.transport.Transport` moves bytes and starts programs; a ``FarSide`` knows what to
start: a Python program on a board (:mod:`benchmark.devices.python_side`), a Java program on a phone
(:mod:`benchmark.devices.android_side`). Both keep one folder with ``incoming`` (arrived, unchecked), ``files``
(named by the SHA-256 of their content) and ``results``.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmark.devices.bootstrap import MARK
from benchmark.devices.transport import Transport
from distill.console import Failure, UsageFailure

__all__ = ["Content", "FarSide", "Message", "Settled", "marked"]

Message = dict[str, Any]
Content = Path | bytes


def marked(lines: Iterable[str]) -> list[Message]:
    """Parse our own messages (marked lines of JSON) and skip whatever else a login shell prints."""
    found = []
    for line in lines:
        _, mark, text = line.partition(MARK)
        if mark:
            try:
                found.append(json.loads(text))
            except ValueError:
                continue  # a line cut off by a lost connection; the missing end is noticed elsewhere
    return found


@dataclass(frozen=True)
class Settled:
    """Files on the device.

    Attributes:
        damaged: Names of arrived files whose content did not match; they are deleted.
        files: Names (SHA-256) of files that can be used.
        results: SHA-256 of each result, by key.
        free_bytes: Free space on its disk.
    """

    damaged: Sequence[str]
    files: Sequence[str]
    results: Mapping[str, str]
    free_bytes: int


class FarSide(ABC):
    """One folder and one program on a device.

    Raises:
        UsageFailure: the folder's name has characters that a shell or sftp would interpret.
    """

    cure: ClassVar[str]  # for errors without a better one

    def __init__(self, transport: Transport, folder: str, example: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_./ -]+", folder) or folder.startswith("-"):
            raise UsageFailure(f"--remote-folder {folder}: letters, digits and . _ - / only", f"for example {example}")
        self.transport = transport
        self.folder = folder
        self.where = transport.where

    @abstractmethod
    def probe(self) -> None:
        """Make the folder and check that the device has what is needed.

        Raises:
            Failure: something is missing (with the cure).
        """

    @abstractmethod
    def settle(self) -> Settled:
        """Move intact arrivals to ``files``, delete damaged ones, and return what is there."""

    @abstractmethod
    def drop(self, names: Iterable[str]) -> None:
        """Delete these of ``files``."""

    @abstractmethod
    def clean(self) -> None:
        """Delete everything that was sent or made, and the folder if it is then empty."""

    @abstractmethod
    def program(self) -> Mapping[str, Content]:
        """Return the files that :meth:`start` needs in ``files``, by SHA-256."""

    @abstractmethod
    def start(self, command: str, cpus: Sequence[int] = ()) -> Sequence[str]:
        """Return the words that run ``command`` of the runner there (protocol: :mod:`benchmark.devices.runner`).

        Args:
            cpus: Processors to run on, for runners that cannot pin themselves; empty: any.

        Raises:
            Failure: there are no such processors.
        """

    @abstractmethod
    def facts(self, described: Message) -> Message:
        """Return the fields of ``Machine``, from the runner's ``describe`` and from what this side knows itself."""

    def refusal(self, format_name: str, delegate: str) -> str | None:
        """Return why variants of this format cannot run there with this delegate; ``None`` if they may."""
        return None

    def require(self, formats: Iterable[str]) -> None:
        """Check that the device can run at least one of these formats.

        Raises:
            Failure: it has no engine for any of them.
        """

    def may_die(self, delegate: str) -> bool:
        """Return whether to try each variant in a process of its own first, since drivers may end the process."""
        return False

    def vitals(self) -> Message | None:
        """Return the present fields of ``Vitals`` where this side sees more than the runner does."""
        return None

    def battery_script(self) -> str:
        """Return a shell script that prints one reading of the battery, see :mod:`benchmark.devices.power`."""
        from benchmark.devices.power import sysfs_script

        return sysfs_script()

    def failure(self, why: str) -> Failure:
        """Return the failure for an error that our program there reported, with a cure."""
        cure = self.cure
        if "No space left" in why or "ENOSPC" in why:
            cure = "free some space there, or --remote-folder PATH on another disk"
        elif "another measurement" in why:
            cure = "wait for it, or end that process there"
        elif why.startswith("processors"):
            cure = "choose others: --cpus"
        elif "cannot be decoded there" in why:
            cure = (
                "install Pillow there: pip install pillow" if "PIL" in why else "--from pixels decodes on this computer"
            )
        return Failure(f"{self.where}: {why}", cure)
