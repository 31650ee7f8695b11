"""The models of a zoo by their architecture: parameters can be stacked where models share it."""

from collections.abc import Iterable, Mapping, Sequence

from jaxzoo.errors import InputError
from jaxzoo.spec.imported_spec import AnySpec
from jaxzoo.spec.plan import Member
from jaxzoo.storage.store_paths import AnyPath

COLUMN = "architecture"  # of members, where they differ in it


def architectures_of(spec: AnySpec, members: Sequence[Member]) -> dict[int, str]:
    """The name of each member's architecture, by the member's number."""
    usual = spec.architecture
    return {member.model: str(member.hyperparameters.get(COLUMN, usual)) for member in members}


def only_architecture(path: AnyPath, names: Iterable[str]) -> str:
    """The architecture that models share. Raises InputError where they have several, or where there is no model."""
    known = [*dict.fromkeys(names)]
    if len(known) != 1:
        got = f"{len(known)} architectures" if known else "none"
        raise InputError(f"{path}: the models have {got}, expected models of one: zoo.groups has a zoo of each")
    return known[0]


def numbers_by_architecture(architectures: Mapping[int, str]) -> dict[str, list[int]]:
    """The numbers of the models of every architecture, in the order of its first model."""
    numbers: dict[str, list[int]] = {}
    for model, name in architectures.items():
        numbers.setdefault(name, []).append(model)
    return numbers
