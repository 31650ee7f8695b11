"""Which architectures and which data sets a spec names, and whether images go through the networks."""

from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.fields import require_choices
from jaxzoo.spec.layers import LAYERS
from jaxzoo.spec.shapes import check_shapes


def settle_names(spec: Any) -> None:
    """Settles what the names mean in a ZooSpec that is being built. Raises InputError for a name that nothing has."""
    if "architecture" in spec.source.declared and (spec.architecture is not None or spec.network is not None):
        got = f"architecture is {spec.architecture!r} beside that of the hyperparameters"
        raise InputError(f"{got}, expected one of the two", ("architecture",))
    if spec.network is not None:
        known = spec.architecture in (None, spec.network.name)
        require(known, "architecture", spec.architecture, f"none beside the module {spec.network.name}")
        object.__setattr__(spec, "architecture", spec.network.name)
    _settle_architectures(spec)
    _settle_datasets(spec)


def check_architectures(spec: Any) -> None:
    """Raises InputError where images do not go through the layers. Those that are built in fit all large images."""
    for name in spec.architecture_names:
        try:
            check_shapes(spec.layers_named(name), spec.image_shape, spec.classes)
        except InputError as error:
            if name in LAYERS:
                raise InputError(f"dataset.size: {name}: {error}", ("dataset", "size")) from error
            own = any(each.name == name for each in spec.architectures)
            path = ("architectures", name, "layers") if own else ("draws", "architecture")
            raise InputError(f"architecture {name}: {error}", path) from error


def _settle_architectures(spec: Any) -> None:
    own = {each.name: each for each in spec.architectures}
    given = [each.name for each in spec.architectures]
    require(len(own) == len(given), "architectures", given, "no name twice")
    chains = spec.draws.chains if spec.draws is not None else {}
    names = spec.architecture_names if spec.names_architecture else ()
    if spec.network is None:
        require_choices("architecture", names, (*LAYERS, *own, *chains))
    object.__setattr__(spec, "architectures", tuple(each for name, each in own.items() if name in names))


def _settle_datasets(spec: Any) -> None:
    others = {each.name: each for each in spec.datasets}
    given = [each.name for each in spec.datasets]
    doubled = len(others) < len(given) or spec.dataset.name in others
    require(not doubled, "datasets", given, "no name twice")
    named = spec.source.values("dataset") if "dataset" in spec.source.declared else ()
    require_choices("dataset", named, (spec.dataset.name, *others))
    object.__setattr__(spec, "datasets", tuple(each for name, each in others.items() if name in named))
    for each in spec.datasets:
        shape, first = ((one.size, one.channels, one.classes) for one in (each, spec.dataset))
        require(shape == first, "datasets", f"{each.name}: {shape}", f"{first}, size, channels, classes of the first")
