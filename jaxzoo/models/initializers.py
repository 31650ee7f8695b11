"""How weights begin: PyTorch's `torch.nn.init` with default arguments."""

from collections.abc import Callable

import jax

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
