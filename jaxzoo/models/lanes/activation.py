"""The activation of a population: one for all models, or one for each; the model axis last."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.models.networks import ACTIVATION_FUNCTIONS, Array

Activate = Callable[[jax.Array], jax.Array]


def activation_of(names: tuple[str, ...], code_M: Array | None) -> Activate:
    """The function of the activations of M models; of several, each model has the one of its code, an index in them."""
    if len(names) == 1:
        # looked up when a layer asks: networks without activations have the word "none"
        return lambda values: ACTIVATION_FUNCTIONS[names[0]](values)
    return lambda values: _activate_each(names, values, jnp.asarray(code_M))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _activate_each(names: tuple[str, ...], values: jax.Array, code_M: jax.Array) -> jax.Array:
    return _forward(names, values, code_M)[0]


def _forward(names: tuple[str, ...], values: jax.Array, code_M: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The activations, and their slopes: the gradient then is one product, whatever the activations."""
    results = [VALUE_AND_SLOPE[name](values) for name in names]
    value, slope = results[0]
    for number, (own_value, own_slope) in enumerate(results[1:], 1):
        own = code_M == number
        value, slope = jnp.where(own, own_value, value), jnp.where(own, own_slope, slope)
    return value, slope


def _backward(names: tuple[str, ...], slope: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None]:
    return cotangent * slope, None


_activate_each.defvjp(_forward, _backward)


def _tanh(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    value = jnp.tanh(x)
    return value, 1 - value * value


def _sigmoid(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    value = jax.nn.sigmoid(x)
    return value, value * (1 - value)


def _silu(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    share = jax.nn.sigmoid(x)
    return x * share, share * (1 + x * (1 - share))


def _gelu(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The exact one: x times the normal distribution function, whose derivative is the normal density."""
    below = 0.5 * lax.erfc(-x * jnp.asarray(0.5**0.5, x.dtype))
    density = jnp.exp(-0.5 * x * x) * jnp.asarray((2 * jnp.pi) ** -0.5, x.dtype)
    return x * below, below + x * density


def _linear(below: float, at_zero: float) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Two lines that meet at zero, with the slopes `below` and 1. At zero itself it is `at_zero`, as in JAX's own."""

    def value_and_slope(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        one = jnp.ones_like(x)
        slope = jnp.where(x > 0, one, jnp.where(x < 0, below * one, at_zero * one))
        # what is no number stays so. Not x * slope: infinity times zero is no number
        return jnp.where(x < 0, below * x if below else jnp.zeros_like(x), x), slope

    return value_and_slope


VALUE_AND_SLOPE: dict[str, Callable[[jax.Array], tuple[jax.Array, jax.Array]]] = {
    "tanh": _tanh,
    "relu": _linear(0.0, 0.0),
    "leaky_relu": _linear(0.01, 1.0),
    "sigmoid": _sigmoid,
    "silu": _silu,
    "gelu": _gelu,
    "identity": lambda x: (x, jnp.ones_like(x)),
}
