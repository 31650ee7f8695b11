"""How weights and biases begin: `torch.nn.init` with default arguments, PyTorch's own layers, and Keras."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# kaiming_* are plain, not truncated, and count the fan in; flax's own he_* and lecun_* are truncated
KERNEL_INITIALIZERS: dict[str, Callable[..., jax.Array]] = {
    "uniform": jax.nn.initializers.uniform(1.0),
    "normal": jax.nn.initializers.normal(1.0),
    "kaiming_uniform": jax.nn.initializers.variance_scaling(2.0, "fan_in", "uniform"),
    "kaiming_normal": jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
    "xavier_uniform": jax.nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
    "xavier_normal": jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal"),
    # torch.nn.Linear and Conv2d: kaiming_uniform with a = sqrt(5), which is U(-1, 1) / sqrt(fan in)
    "torch_default": jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
    # tf.keras.initializers.TruncatedNormal(), Orthogonal(), HeNormal() and GlorotNormal()
    "truncated_normal": jax.nn.initializers.truncated_normal(0.05),
    "he_normal": jax.nn.initializers.he_normal(),
    "glorot_normal": jax.nn.initializers.glorot_normal(),
    "orthogonal": jax.nn.initializers.orthogonal(),
}
DEVIATIONS = {"normal": 1.0, "truncated_normal": 0.05}  # of those whose standard deviation a factor may say
INITIAL_BIAS = 0.01  # of every layer, as the original has it


def bias_initializer(initialization: str, inputs: int) -> Callable[..., jax.Array]:
    """How the biases of a layer begin whose outputs are sums of so many inputs."""
    if initialization != "torch_default":
        return jax.nn.initializers.constant(INITIAL_BIAS)
    bound = 1 / math.sqrt(inputs)

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def rescaled(variables: dict[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Drawn variables, on the host, with the scale of the weights and the first biases that a member has, if it has.

    Weights are what is called kernel, at any depth, and biases what stands beside one. What normalises stays as it is.
    """
    scale, bias = point.get("initialization_scale"), point.get("initialization_bias")
    drawn, std = DEVIATIONS.get(point["initialization"]), point.get("initialization_std")
    if drawn is not None and std is not None:
        scale = (1.0 if scale is None else scale) * std / drawn
    if scale is None and bias is None:
        return variables
    return {**variables, "params": _rescaled(variables["params"], scale, bias)}


def _rescaled(params: Mapping[str, Any], scale: float | None, bias: float | None) -> dict[str, Any]:
    kinds: dict[str, Any] = {
        name: _rescaled(inner, scale, bias) if isinstance(inner, Mapping) else inner for name, inner in params.items()
    }
    if not isinstance(kinds.get("kernel", {}), Mapping):  # a submodule may have that name, too
        if scale is not None:
            kinds["kernel"] = kinds["kernel"] * np.float32(scale)
        if bias is not None and "bias" in kinds:
            kinds["bias"] = np.full_like(kinds["bias"], bias)
    return kinds
