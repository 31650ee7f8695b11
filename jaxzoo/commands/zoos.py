"""The zoos that a command line names: published ones, those of a file, those of other papers."""

from pathlib import Path

from jaxzoo.errors import InputError, nearest
from jaxzoo.spec.config import field_specs, published_specs, read_config
from jaxzoo.spec.dataset_spec import same_name
from jaxzoo.spec.zoo_spec import ZooSpec


def usual_zoos(config: Path | None) -> dict[str, ZooSpec]:
    """The zoos of a file, or the published ones."""
    return published_specs() if config is None else {spec.name: spec for spec in read_config(config)}


def zoos_of_papers(config: Path | None) -> dict[str, ZooSpec]:
    """The zoos of other papers, which no file has beside its own."""
    return field_specs() if config is None else {}


def zoos_named(name: str | None, config: Path | None) -> list[ZooSpec]:
    """The zoos of a name: one zoo, or all of a dataset; all usual ones without a name. Raises InputError."""
    usual = usual_zoos(config)
    if name is None:
        return list(usual.values())
    if name in usual:
        return [usual[name]]
    of_dataset = [spec for spec in usual.values() if same_name(spec.dataset.name, name)]
    others = {} if of_dataset else zoos_of_papers(config)
    if name in others:
        return [others[name]]
    if not of_dataset:
        known = {*usual, *others, *(spec.dataset.name for spec in usual.values())}
        raise InputError(f"--zoo: there is no zoo or dataset {name!r}; nearest: {nearest(name, known)}")
    return of_dataset
