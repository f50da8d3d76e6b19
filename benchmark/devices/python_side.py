"""The far side on a board with Python: our runner is the zip of :mod:`benchmark.devices.parcel`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from benchmark.devices.parcel import BOOTSTRAP, ROOT, parcel
from benchmark.devices.side import Content, FarSide, Message, Settled, marked
from benchmark.devices.transport import Transport
from distill.console import Failure

__all__ = ["FOLDER", "PythonSide"]

FOLDER = ".cache/distill-bench"  # in the user's home on the device
OLDEST_PYTHON = (3, 9)
VENV = "python3 -m venv bench && bench/bin/pip install {packages}, then --remote-python bench/bin/python"


class PythonSide(FarSide):
    """A Python with NumPy and an engine.

    Args:
        python: Path of the Python there; relative paths start at the user's home.
        folder: Folder for our files there.
    """

    cure = "see --remote-folder and --remote-python"

    def __init__(self, transport: Transport, python: str = "python3", folder: str = FOLDER) -> None:
        super().__init__(transport, folder, FOLDER)
        self.python = python.removeprefix("~/")
        self.packages: list[str] = []
        self._bootstrap = (ROOT / BOOTSTRAP).read_bytes()
        self._code = parcel()

    def probe(self) -> None:
        found = self._ask("probe", "numpy", *(module for module, _ in _engines(None)))
        version = tuple(found["python"])
        if version < OLDEST_PYTHON:
            raise Failure(
                f"{self.where}: {self.python} is Python {'.'.join(map(str, version))}",
                f"at least {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} is needed: --remote-python PATH",
            )
        if "numpy" not in found["packages"]:
            cure = VENV.format(packages="numpy ai-edge-litert onnxruntime")
            raise Failure(f"{self.where}: {found['executable']} has no numpy", f"there: {cure}")
        self.packages = found["packages"]

    def settle(self) -> Settled:
        return Settled(**self._ask("settle"))

    def drop(self, names: Iterable[str]) -> None:
        self._ask("drop", *names)

    def clean(self) -> None:
        self._ask("clean")

    def program(self) -> Mapping[str, Content]:
        return {self._sha256: self._code}

    def start(self, command: str, cpus: Sequence[int] = ()) -> Sequence[str]:
        # The runner pins itself to ``plan.cpus``.
        return [self.python, f"{self.folder}/files/{self._sha256}", command, self.folder]

    def facts(self, described: Message) -> Message:
        return described["machine"]

    def require(self, formats: Iterable[str]) -> None:
        wanted = _engines(formats)
        if wanted and not any(module in self.packages for module, _ in wanted):
            packages = " ".join(sorted(package for _, package in wanted))
            raise Failure(
                f"{self.where}: {self.python} has no {packages}", f"there: {VENV.format(packages=f'numpy {packages}')}"
            )

    @property
    def _sha256(self) -> str:
        return hashlib.sha256(self._code).hexdigest()

    def _ask(self, command: str, *names: str) -> Message:
        """Run one command of :mod:`benchmark.devices.bootstrap`."""
        done = self.transport.run([self.python, "-", command, self.folder, *names], self._bootstrap)
        answers = marked(done.stdout.splitlines())
        if not answers:
            if done.code == 127 or "not found" in done.stderr or "No such file" in done.stderr:
                raise Failure(
                    f"{self.where}: no {self.python} there", "install it, or choose another: --remote-python PATH"
                )
            output = (done.stderr.strip().splitlines() or [f"exit status {done.code}"])[-1]
            raise Failure(f"{self.where}: {self.python}: {output}", "check that it is a Python 3: --remote-python PATH")
        if "error" in answers[-1]:
            raise self.failure(answers[-1]["error"])
        return answers[-1]


def _engines(formats: Iterable[str] | None) -> set[tuple[str, str]]:
    """Return the top-level module and the package name of the engine of each format (``None``: all formats)."""
    from export.bundle.formats import FORMATS

    found = [FORMATS[name] for name in (FORMATS.names() if formats is None else formats)]
    return {(form.engine_module.partition(".")[0], form.engine_package) for form in found}
