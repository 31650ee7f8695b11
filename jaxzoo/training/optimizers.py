"""Optax chains in PyTorch's order of operations, for a population: learning rates and weight decays are (M,) arrays."""

import optax

from jaxzoo.models.networks import Array


def build_optimizer(
    optimizer: str,
    momentum: Array | float,
    learning_rate_M: Array,
    weight_decay_M: Array,
    *,
    beta1: Array | float = 0.9,
) -> optax.GradientTransformation:
    """The optimizer of parameters whose last axis is the model: `torch.optim`'s SGD, Adam or RMSprop.

    SGD has no dampening, Adam has `beta1`, beta2 0.999 and eps 1e-8, RMSprop has alpha 0.99 and eps 1e-8 outside the
    root.
    """
    scalings = {
        "sgd": lambda: optax.trace(decay=momentum),
        "adam": lambda: optax.scale_by_adam(b1=beta1, b2=0.999, eps=1e-8),
        "rms_prop": lambda: optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False),
    }
    return optax.chain(
        # first, as in the original: L2 inside the gradient, g + weight_decay w, and not AdamW's decay after the scaling
        optax.add_decayed_weights(weight_decay_M),
        scalings[optimizer](),
        optax.scale_by_learning_rate(learning_rate_M),
    )
