"""Zoos from TOML: a file describes one dataset and any number of zoos on it; `configs/` has the published ones."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxzoo.errors import InputError, nearest, require, shown
from jaxzoo.paths import local_path
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.lines import line_of
from jaxzoo.spec.points import Points
from jaxzoo.spec.tables import read_table
from jaxzoo.spec.zoo_spec import ZooSpec

TABLES = ("dataset", "datasets", "architectures", "zoos")  # of a file


def config_folder() -> Path:
    """The folder of the published zoos' TOML files: inside an installed package, else at the top of the checkout."""
    package = Path(__file__).parents[1]
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def read_config(path: str | Path) -> tuple[ZooSpec, ...]:
    """All zoos of one TOML file, in the file's order. Raises InputError, which names the file and the zoo."""
    path = local_path(path)
    try:
        # a byte-order mark and Windows' line ends come from editors, and are still TOML
        text = path.read_bytes().decode("utf-8-sig")
        table = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a TOML file of zoos") from error
    except (ValueError, RecursionError) as error:  # not all are of TOML: numbers of thousands of digits
        raise InputError(f"{path}: is not TOML: {error}") from error
    try:
        return tuple(_zoos(table, path.parent))
    except InputError as error:
        line = line_of(text, error.path)
        where = f"{path}: " if line is None else f"{path}: line {line}: "
        raise InputError(f"{where}{error}", error.path) from error


def published_specs() -> dict[str, ZooSpec]:
    """The zoos in `configs/` by name: the embedded `digits` and the 27 published ones."""
    return _specs_in(config_folder())


def field_specs() -> dict[str, ZooSpec]:
    """The zoos in `configs/field/` by name: those of other papers, as near as they are known."""
    return _specs_in(config_folder() / "field")


def known_specs() -> dict[str, ZooSpec]:
    """All zoos that have a name, the published ones first."""
    return published_specs() | field_specs()


def _specs_in(folder: Path) -> dict[str, ZooSpec]:
    return {spec.name: spec for path in sorted(folder.glob("*.toml")) for spec in read_config(path)}


def zoo_names() -> tuple[str, ...]:
    """The names that `load_spec` knows."""
    return tuple(known_specs())


def load_spec(name: str) -> ZooSpec:
    """The zoo of that name: one of the published ones, or of those of other papers.

    >>> load_spec("svhn-seed").epochs
    50
    """
    specs = published_specs()
    if name not in specs:
        specs |= field_specs()
    if name not in specs:
        raise InputError(f"there is no zoo {name!r}; nearest: {nearest(name, specs)}")
    return specs[name]


def _zoos(table: dict[str, Any], folder: Path) -> Iterator[ZooSpec]:
    for key in table:
        if key not in TABLES:
            raise InputError(f"table is {shown(key)}, expected one of: {', '.join(TABLES)}", (key,))
    named = isinstance(table.get("datasets"), dict) and "dataset" not in table
    for key in ("zoos",) if named else ("dataset", "zoos"):
        require(isinstance(table.get(key), dict) and bool(table[key]), key, table.get(key), f"a table [{key}]")
    architectures = _architectures(table)
    for name, zoo in table["zoos"].items():
        require(isinstance(zoo, dict), f"zoos.{name}", zoo, "a table")
        for key in ("name", "datasets", "architectures", *(() if named else ("dataset",))):
            wanted = "none: [zoos.NAME], [dataset], [datasets.NAME] and [architectures.NAME] say it"
            require(key not in zoo, f"zoos.{name}.{key}", zoo.get(key), wanted)
        try:
            dataset = _dataset_of(table, zoo) if named else _dataset_for(table["dataset"], zoo.get("architecture"))
            shared = {**architectures, **_datasets(table, dataset)}
            spec = read_table({"name": name, **shared, **zoo, **_points(zoo, folder), "dataset": dataset}, ZooSpec)
            assert spec.architecture_names  # a file cannot hold a module, which would come later
            yield spec
        except InputError as error:
            where = _path_in_file(error.path, name, zoo.get("architecture"), table.get("dataset", {}))
            if named and error.path[:1] == ("dataset",):
                where = ("datasets", str(zoo.get("dataset")), *error.path[1:])
            raise InputError(f"zoo {name!r}: {error}", where) from error


def _architectures(table: dict[str, Any]) -> dict[str, Any]:
    """The [architectures.NAME] tables of a file; a zoo takes those that its members name."""
    return {"architectures": tuple(_architecture(name, own) for name, own in _named(table, "architectures"))}


def _architecture(name: str, table: dict[str, Any]) -> Architecture:
    try:
        return read_table({"name": name, **table}, Architecture)
    except InputError as error:
        raise InputError(f"architectures.{name}: {error}", ("architectures", name, *error.path)) from error


def _datasets(table: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """The [datasets.NAME] tables of a file, whose images are of the shape of those of [dataset]."""
    shape = {name: dataset[name] for name in ("classes", "size", "channels") if name in dataset}
    others = ((name, own) for name, own in _named(table, "datasets") if name != dataset.get("name"))
    return {"datasets": [{"name": name, **shape, **own} for name, own in others]}


def _dataset_of(table: dict[str, Any], zoo: dict[str, Any]) -> dict[str, Any]:
    """The [datasets.NAME] table that a zoo names, in a file that has no [dataset] for all zoos."""
    known = dict(_named(table, "datasets"))
    name = zoo.get("dataset")
    wanted = f"the name of a data set: {', '.join(known)}"
    require(isinstance(name, str) and name in known, "dataset", name, wanted)
    return {"name": str(name), **known[str(name)]}


def _named(table: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    tables = table.get(key, {})
    require(isinstance(tables, dict), key, tables, f"tables [{key}.NAME]")
    for name, own in tables.items():
        require(isinstance(own, dict) and "name" not in own, f"{key}.{name}", own, f"a table [{key}.NAME]")
        yield name, own


def _points(zoo: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The table of points that a zoo names: a file beside the TOML file, unless its path begins at the root."""
    if "points" not in zoo:
        return {}
    name = zoo["points"]
    require(isinstance(name, str), "points", name, "the name of a file")
    try:
        return {"points": {"text": Points.read(folder / name).text}}
    except InputError as error:
        raise InputError(f"points: {error}", ("points",)) from error


def _path_in_file(path: tuple[str, ...], zoo: str, architecture: object, dataset: dict[str, Any]) -> tuple[str, ...]:
    """The path of a zoo's field in the file, where all zoos share a dataset and an architecture may add to it."""
    if path[:1] == ("architectures",):
        return path
    if path[:1] != ("dataset",):
        return ("zoos", zoo, *path)
    special = dataset.get("for", {})
    own = special.get(architecture) if isinstance(special, dict) and isinstance(architecture, str) else None
    if isinstance(own, dict) and path[1:2] and path[1] in own:
        return ("dataset", "for", str(architecture), *path[1:])
    return path


def _dataset_for(dataset: dict[str, Any], architecture: object) -> dict[str, Any]:
    """The [dataset] table with what [dataset.for.<architecture>] adds to it."""
    special = dataset.get("for", {})
    require(isinstance(special, dict), "dataset.for", special, "a table per architecture")
    common = {key: value for key, value in dataset.items() if key != "for"}
    if not special:
        return common
    known = f"one of dataset.for: {', '.join(special)}"
    require(isinstance(architecture, str) and architecture in special, "architecture", architecture, known)
    own = special[str(architecture)]
    require(isinstance(own, dict), f"dataset.for.{architecture}", own, "a table")
    require("name" not in own, f"dataset.for.{architecture}.name", own.get("name"), "none: [dataset] says it")
    return {**common, **own}
