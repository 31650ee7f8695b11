"""Optax chains in PyTorch's order of operations, for a population: learning rates and weight decays are (M,) arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxzoo.models.networks import Array, Params
from jaxzoo.spec.optimizer import Optimizer


class Rule(NamedTuple):
    """What an optimizer makes of gradients, before the learning rate.

    `scale` takes its parameters by name. Weight decay is L2 inside the gradient, g + weight_decay w, as in the original
    zoos; or it is `decoupled`: then weights shrink by learning_rate * weight_decay, whatever the scaling.
    """

    scale: Callable[[Mapping[str, Any]], optax.GradientTransformation]
    decoupled: bool = False


def _adam(values: Mapping[str, Any], *, nesterov: bool = False) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=values["beta1"], b2=values["beta2"], eps=values["epsilon"], nesterov=nesterov)


RULES: Mapping[str, Rule] = {
    # torch.optim's SGD, without dampening
    "sgd": Rule(lambda values: optax.trace(decay=values["momentum"], nesterov=values["nesterov"])),
    # torch.optim's Adam (Kingma, Ba 2015, arXiv 1412.6980)
    "adam": Rule(_adam),
    # torch.optim's RMSprop: epsilon is outside the root, and there is no momentum
    "rms_prop": Rule(
        lambda values: optax.scale_by_rms(decay=values["decay"], eps=values["epsilon"], eps_in_sqrt=False)
    ),
    # torch.optim's AdamW (Loshchilov, Hutter 2019, arXiv 1711.05101)
    "adamw": Rule(_adam, decoupled=True),
    # optax's nadam (Dozat 2016). PyTorch's NAdam also changes beta 1 from step to step, and is another
    "nadam": Rule(lambda values: _adam(values, nesterov=True)),
    # optax's lion (Chen et al. 2023, arXiv 2302.06675): every weight moves by the learning rate, either way
    "lion": Rule(lambda values: optax.scale_by_lion(b1=values["beta1"], b2=values["beta2"]), decoupled=True),
}


def build_optimizer(
    optimizer: Optimizer,
    learning_rate_M: Array,
    weight_decay_M: Array,
    settings: Mapping[str, Array | float],
) -> optax.GradientTransformation:
    """The optimizer of parameters whose last axis is the model.

    `settings` replace the optimizer's parameters of these names, by numbers or (M,) arrays; names that it does not have
    are passed over. sgd without a momentum of its own needs one there.
    """
    values = {name: settings.get(name, value) for name, value in optimizer.values.items()}
    rule = RULES[optimizer.name]
    scaling, decay = rule.scale(values), optax.add_decayed_weights(weight_decay_M)
    order = (scaling, decay) if rule.decoupled else (decay, scaling)
    return optax.chain(*order, optax.scale_by_learning_rate(learning_rate_M))


def build_optimizers(
    optimizers: Sequence[Optimizer],
    learning_rate_M: Array,
    weight_decay_M: Array,
    settings: Sequence[Mapping[str, Array | float]],
    code_M: Array | None,
) -> optax.GradientTransformation:
    """The optimizer of each model: of several, the one that its code says; each has settings of its own."""
    built = [
        build_optimizer(optimizer, learning_rate_M, weight_decay_M, own)
        for optimizer, own in zip(optimizers, settings, strict=True)
    ]
    return built[0] if len(built) == 1 else _chosen(built, jnp.asarray(code_M))


def _chosen(built: Sequence[optax.GradientTransformation], code_M: jax.Array) -> optax.GradientTransformation:
    """The updates of one of the optimizers for each model. The states of the others stay as they begin, at zero."""

    def own(number: int, new: Any, before: Any) -> Any:
        # a count of steps that all models share goes on for all
        return jax.tree.map(
            lambda left, right: jnp.where(code_M == number, left, right) if left.ndim else left, new, before
        )

    def init(params: Params) -> tuple[Any, ...]:
        return tuple(optimizer.init(params) for optimizer in built)

    def update(gradients: Params, states: tuple[Any, ...], params: Params | None = None) -> tuple[Params, Any]:
        chosen, moved = gradients, []
        for number, (optimizer, state) in enumerate(zip(built, states, strict=True)):
            updates, after = optimizer.update(gradients, state, params)
            chosen = own(number, updates, chosen)
            moved.append(own(number, after, state))
        return chosen, tuple(moved)

    return optax.GradientTransformation(init, update)


def clip_gradients(gradients: Params, most_M: Array) -> Params:
    """Each model's gradients, scaled down so that their norm is at most so much; 0 leaves them as they are.

    It is `torch.nn.utils.clip_grad_norm_`, which adds 1e-6 to the norm.
    """
    squares = [jnp.sum(leaf**2, axis=tuple(range(leaf.ndim - most_M.ndim))) for leaf in jax.tree.leaves(gradients)]
    norm_M = jnp.sqrt(sum(squares[1:], start=squares[0]))
    factor_M = jnp.where(most_M > 0, jnp.minimum(1.0, most_M / (norm_M + 1e-6)), 1.0)
    return jax.tree.map(lambda leaf: leaf * factor_M, gradients)
