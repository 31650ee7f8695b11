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
    r"""Optimizer of parameters whose last axis is the model.

    The decay is L2 inside the gradient, g + weight_decay w, before the momentum or the scaling of `torch.optim`'s SGD
    (no dampening), Adam (`beta1`, beta2 0.999, eps 1e-8) and RMSprop (alpha 0.99, eps 1e-8 outside the root).
    """
    scalings = {
        "sgd": lambda: optax.trace(decay=momentum),
        "adam": lambda: optax.scale_by_adam(b1=beta1, b2=0.999, eps=1e-8),
        "rms_prop": lambda: optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False),
    }
    return optax.chain(
        optax.add_decayed_weights(weight_decay_M),
        scalings[optimizer](),
        optax.scale_by_learning_rate(learning_rate_M),
    )
