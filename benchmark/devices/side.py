"""The far side of a connection: which language our program there is in, and how its folder is looked after.

A :class:`~benchmark.devices.transport.Transport` moves bytes and starts programs; a ``FarSide`` knows what to
start: a Python on a board (:mod:`benchmark.devices.python_side`), a Java program on a phone
(:mod:`benchmark.devices.android_side`). Both keep one folder with ``incoming`` (arrived, unchecked), ``files``
(named by the SHA-256 of their content) and ``results``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmark.devices.transport import Transport
from distill.console import UsageFailure

__all__ = ["Content", "FarSide", "Message", "Settled"]

Message = dict[str, Any]
Content = Path | bytes


@dataclass(frozen=True)
class Settled:
    """What lies there.

    Attributes:
        damaged: of what had arrived, was not what its name says; deleted.
        files: names (SHA-256) of what can be used.
        results: SHA-256 of each result, by key.
        free_bytes: on its disk.
    """

    damaged: Sequence[str]
    files: Sequence[str]
    results: Mapping[str, str]
    free_bytes: int


class FarSide(ABC):
    """One folder and one program on a device.

    Raises:
        UsageFailure: a folder with characters that a shell or sftp would take apart.
    """

    cure: ClassVar[str]  # for whatever has no better one
    android: ClassVar[bool] = False

    def __init__(self, transport: Transport, folder: str, example: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_./ -]+", folder) or folder.startswith("-"):
            raise UsageFailure(f"--remote-folder {folder}: letters, digits and . _ - / only", f"for example {example}")
        self.transport = transport
        self.folder = folder
        self.where = transport.where

    @abstractmethod
    def probe(self) -> None:
        """Make the folder, and see whether this device will do.

        Raises:
            Failure: it will not (with the cure).
        """

    @abstractmethod
    def settle(self) -> Settled:
        """Move what arrived whole to ``files``, delete what did not, and say what there is."""

    @abstractmethod
    def drop(self, names: Iterable[str]) -> None:
        """Delete these of ``files``."""

    @abstractmethod
    def clean(self) -> None:
        """Delete all that was sent and made, and the folder if nothing else lies in it."""

    @abstractmethod
    def program(self) -> Mapping[str, Content]:
        """What has to lie in ``files`` before :meth:`start`, by SHA-256."""

    @abstractmethod
    def start(self, command: str, cpus: Sequence[int] = ()) -> Sequence[str]:
        """The words that run ``command`` of the runner there (:mod:`benchmark.devices.runner` has the protocol).

        Args:
            cpus: processors to run on, where the runner cannot see to it itself; empty: any.

        Raises:
            Failure: there are no such processors.
        """

    @abstractmethod
    def facts(self, told: Message) -> Message:
        """Fields of ``Machine``, from what the runner's ``describe`` told and what this side found itself."""

    def refusal(self, format_name: str, delegate: str) -> str | None:
        """Why variants of this format cannot run there with this delegate; ``None``: they may, and the runner will tell."""
        return None

    def require(self, formats: Iterable[str]) -> None:
        """See that it can run one of these formats at least.

        Raises:
            Failure: it has the engine of none of them.
        """

    def may_die(self, delegate: str) -> bool:
        """Whether a variant should be tried in a process of its own first: drivers are known to end the process."""
        return False

    def vitals(self) -> Message | None:
        """The fields of ``Vitals`` now, where this side sees more than the runner does."""
        return None
