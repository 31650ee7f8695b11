"""A zoo whose networks are a Flax module, and the module that a caller brings for it.

No code is imported from what a zoo.json names: the caller gives the module, and it is held to what the zoo recorded.
"""

import dataclasses
from typing import Any

from jaxzoo.errors import InputError
from jaxzoo.models.modules import describe_module, fixed_logits, module_missing, same_logits
from jaxzoo.spec.module import FlaxModule
from jaxzoo.spec.tables import differences
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.record import ZooRecord
from jaxzoo.storage.store_paths import AnyPath


def with_network(spec: ZooSpec, module: Any) -> ZooSpec:
    """The spec of a zoo whose networks are the module; None leaves a spec as it is. Raises InputError."""
    if module is None:
        return spec
    if spec.network is None and spec.names_architecture:
        got = f"is given beside the architecture {spec.architecture_label}"
        raise InputError(f"network {got}, expected one of the two", ("network",))
    network = describe_module(module, spec.image_shape, spec.classes)
    return dataclasses.replace(spec, architecture=None, network=network)


def with_module(folder: AnyPath, record: ZooRecord, network: FlaxModule | None) -> ZooRecord:
    """The record of a zoo with the module at hand. Raises InputError unless the module is that of the zoo."""
    begun = record.spec.network
    if network is None or begun is None:
        return record
    if begun != network:
        differing = _differences(begun, network)
        raise InputError(f"{folder}: was begun with another module: {differing}; expected the same", ("network",))
    assert record.logits is not None  # a record has both or neither
    if not same_logits(record.logits, fixed_logits(network, record.spec.image_shape)):
        raise InputError(
            f"{folder}: network is a {network.name} whose logits are not those of the module that the zoo was begun "
            "with, expected that one",
            ("network",),
        )
    return holding(record, network)


def holding(record: ZooRecord, network: FlaxModule | None) -> ZooRecord:
    """The record with a module that was held to it before."""
    return record if network is None else dataclasses.replace(record, spec=_with(record.spec, network))


def check_module(folder: AnyPath, record: ZooRecord | None, spec: ZooSpec) -> None:
    """Raises InputError where a module is needed to make a zoo, or to go on with one, and was not given."""
    network = spec.network or (None if record is None else record.spec.network)
    if network is not None and network.module is None:
        raise InputError(f"{folder}: {module_missing(network)}", ("network",))


def _with(spec: ZooSpec, network: FlaxModule) -> ZooSpec:
    return dataclasses.replace(spec, network=network)


def _differences(begun: FlaxModule, network: FlaxModule) -> str:
    """What differs: the name and the settings where they do, else the shapes, else the order of the variables."""
    tables = [network.written() for network in (begun, network)]
    shapes = [table.pop("shapes") for table in tables]
    named = differences(tables[0], tables[1]) or differences({"shapes": shapes[0]}, {"shapes": shapes[1]})
    return named or "it makes its variables in another order"
