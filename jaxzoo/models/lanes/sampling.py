"""Draws activations from their mean and variance, the model axis last."""

import jax
from jax import lax

from jaxzoo.models.networks import SMALLEST_VARIANCE


@jax.custom_vjp
def sample(mean: jax.Array, variance: jax.Array, noise: jax.Array) -> jax.Array:
    """As `networks.sample`, but the noise has no gradient."""
    return _sample_forward(mean, variance, noise)[0]


def _sample_forward(mean: jax.Array, variance: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The values, and their derivatives by the variance."""
    raised = variance + SMALLEST_VARIANCE
    # one reciprocal root gives value and slope; automatic differentiation would take a root and a quotient
    slope = 0.5 * noise * lax.rsqrt(raised)
    return mean + 2 * raised * slope, slope


def _sample_backward(slope: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    return cotangent, cotangent * slope, None


sample.defvjp(_sample_forward, _sample_backward)
