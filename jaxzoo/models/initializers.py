"""How weights begin: PyTorch's `torch.nn.init` with default arguments."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxzoo.spec.layers import Layers, weight_layers

# kaiming_* are plain, not truncated, and count the fan in; flax's own he_* and lecun_* are truncated
KERNEL_INITIALIZERS: dict[str, Callable[..., jax.Array]] = {
    "uniform": jax.nn.initializers.uniform(1.0),
    "normal": jax.nn.initializers.normal(1.0),
    "kaiming_uniform": jax.nn.initializers.variance_scaling(2.0, "fan_in", "uniform"),
    "kaiming_normal": jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
    "xavier_uniform": jax.nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
    "xavier_normal": jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal"),
}
INITIAL_BIAS = 0.01  # of every layer, as the original has it


def rescaled(layers: Layers, variables: dict[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Drawn variables, on the host, with the scale of the weights and the first biases that a member has, if it has.

    What normalises batches stays as it is.
    """
    scale, bias = point.get("initialization_scale"), point.get("initialization_bias")
    if scale is None and bias is None:
        return variables
    params = {name: dict(kinds) for name, kinds in variables["params"].items()}
    for layer in weight_layers(layers):
        kinds = params[layer.name]
        if scale is not None:
            kinds["kernel"] = kinds["kernel"] * np.float32(scale)
        if bias is not None and "bias" in kinds:
            kinds["bias"] = np.full_like(kinds["bias"], bias)
    return {**variables, "params": params}
