"""Names that stand for something and are imported only when they are used.

Losses, backbones, data sets, model-file formats, quantization schemes and devices are each one
:class:`Registry`. An entry is a module-level object (a spec) in a file of its own, named in the table as
``"package.module:OBJECT"``, so that reading the table imports nothing. Another installed package adds entries
without touching this project, by an entry point in its ``pyproject.toml``::

    [project.entry-points."distill_to_phone.losses"]
    cosine = "my_package.cosine:COSINE"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module, metadata
from typing import Generic, TypeVar

from distill.console.errors import Failure, UsageFailure, suggest

__all__ = ["Registry", "load_object"]

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """A table from names to entries of one kind.

    Args:
        what: what an entry is, as error messages say it, e.g. ``"loss"``.
        entry_type: the class of every entry.
        builtin: name to entry, or to ``"module:object"``, which is imported when first asked for.
            The order is the order in help texts.
        group: entry-point group from which installed packages are read, e.g. ``"distill_to_phone.losses"``.

    Example:
        >>> sizes = Registry("size", int, {"small": 1, "large": "sys:maxsize"}, group="distill_to_phone.sizes")
        >>> sizes.names(), sizes["small"], "huge" in sizes
        (['small', 'large'], 1, False)
    """

    def __init__(
        self, what: str, entry_type: type[Entry], builtin: Mapping[str, Entry | str], *, group: str
    ) -> None:
        self.what = what
        self.group = group
        self._type = entry_type
        self._table: dict[str, Entry | str] = dict(builtin)
        self._plugins_read = False

    def names(self) -> list[str]:
        """All names, built-in ones first. Imports no entry."""
        self._read_plugins()
        return list(self._table)

    def __contains__(self, name: object) -> bool:
        if name not in self._table:
            self._read_plugins()
        return name in self._table

    def __getitem__(self, name: str) -> Entry:
        """The entry of this name.

        Raises:
            UsageFailure: unknown name.
            Failure: the entry cannot be imported, or is not what it should be.
        """
        if name not in self:
            raise UsageFailure(f"unknown {self.what} '{name}'", suggest(name, self.names()))
        entry = self._table[name]
        if isinstance(entry, str):
            entry = self._table[name] = self._import(name, entry)
        return entry

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Every name with its entry. Imports them all."""
        for name in self.names():
            yield name, self[name]

    def add(self, name: str, entry: Entry | str) -> None:
        """Add an entry for this process, e.g. from a notebook.

        Raises:
            ValueError: the name is taken.
        """
        if name in self:
            raise ValueError(f"{self.what} '{name}' exists already")
        self._table[name] = entry

    @contextmanager
    def added(self, name: str, entry: Entry | str) -> Iterator[None]:
        """Add an entry for the length of a ``with`` block.

        Raises:
            ValueError: the name is taken.
        """
        self.add(name, entry)
        try:
            yield
        finally:
            del self._table[name]

    def _read_plugins(self) -> None:
        if self._plugins_read:
            return
        self._plugins_read = True
        for point in metadata.entry_points(group=self.group):
            self._table.setdefault(point.name, point.value)  # a built-in name is not replaced

    def _import(self, name: str, target: str) -> Entry:
        try:
            entry = load_object(target)
        except (ImportError, AttributeError, ValueError) as error:
            raise Failure(f"{self.what} '{name}' ({target}) cannot be imported: {error}", _CURE) from error
        if not isinstance(entry, self._type):
            raise Failure(f"{self.what} '{name}' ({target}) is not a {self._type.__name__}", _CURE)
        return entry


_CURE = "install what it needs, or remove the package that adds it"


def load_object(target: str) -> object:
    """Import ``"package.module:object"``.

    Raises:
        ValueError: not of this form.
        ImportError, AttributeError: no such module or object.
    """
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ValueError(f"'{target}' is not module:object")
    return getattr(import_module(module), name)
