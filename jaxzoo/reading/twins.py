"""The twins of a zoo, by the method that made them."""

from collections.abc import Mapping
from typing import NoReturn, TypeVar

from jaxzoo.errors import InputError
from jaxzoo.storage.store_paths import AnyPath

Zoo = TypeVar("Zoo")


class Twins(dict[str, Zoo]):
    """Twins by method. Asking for a method that the zoo has no twins by raises InputError, which says what it has."""

    def __init__(self, parent: AnyPath, found: Mapping[str, Zoo]) -> None:
        super().__init__(found)
        self._parent = parent

    def __missing__(self, method: str) -> NoReturn:
        raise InputError(
            f"{self._parent}: has no twins by {method!r}, expected one of: {', '.join(self) or 'none yet'}"
        )
