"""Tables of named entries that are imported on first use.

There is one :class:`Registry` each for losses, backbones, data sets, export targets, model file formats, int8 repairs
and devices. An entry is a module-level object (a spec) in its own file. The table refers to it as
``"package.module:OBJECT"``, so reading the table imports nothing. Another installed package adds entries
with an entry point in its ``pyproject.toml``::

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
        what: What an entry is, for error messages, e.g. ``"loss"``.
        entry_type: Class of every entry.
        builtin: Name to entry, or to ``"module:object"``, which is imported on first use.
            The order is the order in help texts.
        group: Entry-point group that other packages add to, e.g. ``"distill_to_phone.losses"``.

    Example:
        >>> sizes = Registry("size", int, {"small": 1, "large": "sys:maxsize"}, group="distill_to_phone.sizes")
        >>> sizes.names(), sizes["small"], "huge" in sizes
        (['small', 'large'], 1, False)
    """

    def __init__(self, what: str, entry_type: type[Entry], builtin: Mapping[str, Entry | str], *, group: str) -> None:
        self.what = what
        self.group = group
        self._type = entry_type
        self._table: dict[str, Entry | str] = dict(builtin)
        self._plugins_read = False

    def names(self) -> list[str]:
        """Return all names, built-in ones first. Imports no entry."""
        self._read_plugins()
        return list(self._table)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, as over a dict."""
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        if name not in self._table:
            self._read_plugins()
        return name in self._table

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of this name, importing it on first use.

        Raises:
            UsageFailure: unknown name.
            Failure: the entry cannot be imported, or has the wrong type.
        """
        if name not in self:
            raise UsageFailure(f"unknown {self.what} '{name}'", suggest(name, self.names()))
        entry = self._table[name]
        if isinstance(entry, str):
            entry = self._table[name] = self._import(name, entry)
        return entry

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Yield every name with its entry. Imports all entries."""
        for name in self.names():
            yield name, self[name]

    def add(self, name: str, entry: Entry | str) -> None:
        """Add an entry in this process, e.g. from a notebook.

        Raises:
            ValueError: the name is taken.
        """
        if name in self:
            raise ValueError(f"{self.what} '{name}' exists already")
        self._table[name] = entry

    @contextmanager
    def added(self, name: str, entry: Entry | str) -> Iterator[None]:
        """Add an entry for the duration of a ``with`` block.

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
        except Failure:
            raise
        except Exception as error:  # the module of another package can raise anything
            raise Failure(f"{self.what} '{name}' ({target}) cannot be imported: {error}", _CURE) from error
        if not isinstance(entry, self._type):
            raise Failure(f"{self.what} '{name}' ({target}) is not of type {self._type.__name__}", _CURE)
        return entry


_CURE = "install what it needs, or remove the package that adds it"


def load_object(target: str) -> object:
    """Import ``"package.module:object"`` and return the object.

    Raises:
        ValueError: the target has another form.
        ImportError, AttributeError: no such module or object.
    """
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ValueError(f"'{target}' is not module:object")
    return getattr(import_module(module), name)
