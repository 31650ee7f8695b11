"""Activations drawn from their mean and variance, the model axis last."""

import jax
from jax import lax

from jaxzoo.models.networks import SMALLEST_VARIANCE


@jax.custom_vjp
def sample(mean: jax.Array, variance: jax.Array, noise: jax.Array) -> jax.Array:
    """`networks.sample`, its noise without a gradient: one root where the plain form has a root and a quotient."""
    return _sample_forward(mean, variance, noise)[0]


def _sample_forward(mean: jax.Array, variance: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The values, and their slopes by the variance."""
    raised = variance + SMALLEST_VARIANCE
    slope = 0.5 * noise * lax.rsqrt(raised)
    return mean + 2 * raised * slope, slope


def _sample_backward(slope: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    return cotangent, cotangent * slope, None


sample.defvjp(_sample_forward, _sample_backward)
