"""What a method of sparsification changes in a cohort's programs.

A method decides what is trained, which parameters the forward pass takes, and which weights remain zero.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxzoo.models.networks import Params
from jaxzoo.models.trees import each_leaf, nested
from jaxzoo.spec.layers import Layers, module_of, weight_layers
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training.sparsify import magnitude, variational


class Derived(NamedTuple):
    """The parameters that the forward pass takes, and the divergence from a prior in nats, (M,), if there is one."""

    layers: Params
    divergence: jax.Array | None


class Method(NamedTuple):
    """The parts of a training step that a method defines. A dense zoo has no method.

    begin(params) -> (trained parameters, masks), from dense parameters before the first step, on the host;
    derive(trained) -> what the forward pass takes;
    divergence_weight(epoch) -> the divergence's factor in the loss, epochs counted from 1;
    mask(trained, masks, epoch) -> the masks of an epoch; a method without masks has {} throughout;
    sparse(trained) -> the parameters as they are evaluated and saved;
    samples: whether activations are drawn from their mean and variance.
    """

    begin: Callable[[Params], tuple[Params, Params]]
    derive: Callable[[Params], Derived]
    divergence_weight: Callable[[jax.Array], jax.Array]
    mask: Callable[[Params, Params, jax.Array], Params]
    sparse: Callable[[Params], Params]
    samples: bool


def build_method(twin: TwinSpec, layers: Layers) -> Method:
    """The method that makes twins by `twin.method`, for networks of these layers."""
    if twin.method == "variational-dropout":
        return Method(
            begin=lambda params: (variational.with_log_variances(layers, params), {}),
            derive=lambda params: Derived(*variational.moments(layers, params)),
            divergence_weight=lambda epoch: variational.kl_weight(epoch, twin.length),
            mask=lambda params, masks, epoch: masks,
            sparse=functools.partial(variational.sparse_params, layers),
            samples=True,
        )
    return Method(
        begin=lambda params: (params, magnitude.full_masks(params)),
        derive=lambda params: Derived(params, None),
        divergence_weight=lambda epoch: jnp.float32(0),
        mask=lambda params, masks, epoch: magnitude.prune(
            _kernels(layers, params), magnitude.sparsity_at(epoch, twin.length, twin.sparsity), twin.scope
        ),
        sparse=lambda params: params,
        samples=False,
    )


def _kernels(layers: Layers, params: Params) -> Params:
    """The parameters with weights in the order of the layers, which compiled programs do not keep."""
    module = module_of(layers)
    if module is None:
        return {layer.name: params[layer.name] for layer in weight_layers(layers)}
    leaves = dict(each_leaf(params))
    return nested((path, leaves[path]) for path in module.kernels)
