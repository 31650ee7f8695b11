"""Which of the hyperparameters that are words a network takes, and which of them a spec therefore has to give."""

from typing import Any

from jaxzoo.errors import InputError
from jaxzoo.spec.grid import ALLOWED, NONE, OPTIONAL
from jaxzoo.spec.layers import MEMBERS_OWN, Activation, Layers, each_layer, weight_layers


def takes_activation(layers: Layers) -> bool:
    """Whether a layer takes the activation function that is a hyperparameter of the model."""
    return any(isinstance(layer, Activation) and layer.function == MEMBERS_OWN for layer in each_layer(layers))


def draws_weights(layers: Layers) -> bool:
    """Whether weights are drawn by the initialization that is a hyperparameter of the model."""
    return len(weight_layers(layers)) > 0


NEEDING = {"activation": takes_activation, "initialization": draws_weights}


def check_words(spec: Any) -> None:
    """Raises InputError for a word that a ZooSpec, which is being built, lacks, or that its network cannot take."""
    source = next(each for each in ("grid", "draws", "points") if getattr(spec, each) is not None)
    for name in OPTIONAL:
        values, path = spec.values(name), (source, name)
        taken = any(NEEDING[name](spec.layers_named(each)) for each in spec.architecture_names)
        if NONE in values and taken:
            got = "is missing" if {*values} == {NONE} else f"is {NONE!r}"
            raise InputError(f"{source}.{name} {got}, expected one of: {', '.join(ALLOWED[name])}", path)
        if len(values) > 1 and not taken and spec.network is None:
            got = f"{source}.{name} is {', '.join(values)}, expected one at most"
            raise InputError(f"{got}: no layer takes it, and members would be the same", path)
        if spec.network is not None and {*values} != {NONE}:
            raise InputError(f"{source}.{name} is {', '.join(values)}, expected none: the module has its own", path)
