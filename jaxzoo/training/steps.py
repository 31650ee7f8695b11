"""The functions that a program compiles: loop over training steps, loop over images to evaluate.

Arrays have the model axis last. While training, it may be folded to two axes of the shape `models`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxzoo.datasets.subsets import with_patch
from jaxzoo.keys import Role, fold
from jaxzoo.models.engines import Forward
from jaxzoo.models.networks import Array, DropoutSource, Params, SamplingSource
from jaxzoo.models.tally import Tally, count_batch, empty_tally
from jaxzoo.spec.factors import FACTORS_OF_OPTIMIZERS
from jaxzoo.spec.layers import module_of
from jaxzoo.spec.optimizer import CYCLED
from jaxzoo.spec.plan import CohortKey, steps_of
from jaxzoo.training.augmentation import augment
from jaxzoo.training.hyperparameters import Hyperparameters
from jaxzoo.training.optimizers import build_optimizers, clip_gradients
from jaxzoo.training.order import Order, root_keys
from jaxzoo.training.schedules import moment_at
from jaxzoo.training.sparsify import Derived, Method, apply_masks


class State(NamedTuple):
    """Everything that training changes, with leaves (..., M), but for the optimizer's scalar step count.

    `optimizer` is None on the host before the first step: the device that trains initialises it. `masks` hold weights
    at zero, where a pruning method has masks. `batch_stats` are the running means and variances of networks that
    normalise batches.
    """

    params: Params
    optimizer: optax.OptState | None
    masks: Params
    batch_stats: Params


class DeviceImages(NamedTuple):
    """All splits, one after the other, on every device: pixels (N, H, W, C) uint8, labels (N,), and the normalisation.

    A pixel enters the network as `pixel * scale + shift`, with one scale and shift per channel.
    """

    pixels: Array
    labels: Array
    scale: Array
    shift: Array


class Recipe(NamedTuple):
    """What the training loop is built from.

    `method` makes twins; it is None for the zoo itself. `at_once` images of a batch go forward and backward at a time,
    and gradients are summed over such parts. `models` is the shape of the model axis. `schedule_epochs` are those
    that the schedule of learning rates spans, None where it does not depend on them.
    """

    key: CohortKey
    method: Method | None
    forward: Forward
    at_once: int
    models: tuple[int, ...]
    schedule_epochs: int | None


def train(
    recipe: Recipe,
    state: State,
    tally: Tally,
    hyper: Hyperparameters,
    images: DeviceImages,
    order: Order,
    epoch: jax.Array,
    first: jax.Array,
    last: jax.Array,
) -> tuple[State, Tally]:
    """Trains through the steps first to last - 1 of an epoch."""
    key, models = recipe.key, recipe.models
    role_keys = _epoch_keys(recipe, hyper.seed, epoch)
    state, tally, hyper = fold_models((state, tally, hyper), models)
    order = order._replace(seen=fold_models(order.seen, models))
    gradients_of = functools.partial(_gradients, recipe, hyper, images, order, epoch)

    def step(number: jax.Array, carry: tuple[State, Tally]) -> tuple[State, Tally]:
        state, tally = carry
        fold_step = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        keys = {role: fold_step(key_M, number).reshape(models) for role, key_M in role_keys.items()}
        gradients, batch_stats, batch_tally = gradients_of(state, keys, number)
        optimizer = _optimizer(recipe, hyper, order.seen, epoch, number)
        updates, moments = optimizer.update(gradients, state.optimizer, state.params)
        params = apply_masks(optax.apply_updates(state.params, updates), state.masks)
        trained = _unless_through(key, order, number, State(params, moments, state.masks, batch_stats), state)
        return trained, jax.tree.map(jnp.add, tally, batch_tally)

    return unfold_models(lax.fori_loop(first, last, step, (state, tally)), models)


def _unless_through(key: CohortKey, order: Order, number: jax.Array, trained: State, before: State) -> State:
    """The state after a step; of members that are through with their examples, the one before it."""
    if order.seen is None:
        return trained
    active_M = number * key.batch_size < order.seen
    return jax.tree.map(lambda new, old: jnp.where(active_M, new, old), trained, before)


def _optimizer(
    recipe: Recipe, hyper: Hyperparameters, seen_M: Array | None, epoch: jax.Array, number: jax.Array
) -> optax.GradientTransformation:
    """The optimizer of a step. Where members see fewer examples, a schedule spans the steps that each of them has."""
    key = recipe.key
    rate_M, decay_M = hyper.numbers["learning_rate"], hyper.numbers["weight_decay"]
    settings: dict[str, Array | float]
    settings = {name: hyper.numbers[name] for name in FACTORS_OF_OPTIMIZERS if name in key.factors}
    per_epoch = steps_of(key) if seen_M is None else -(-seen_M // key.batch_size)
    steps = None if recipe.schedule_epochs is None else recipe.schedule_epochs * per_epoch
    moment = moment_at(key.schedule, (epoch - 1) * per_epoch + number, per_epoch, steps)
    if moment is not None:
        rate_M = rate_M * moment.rate
        if moment.momentum is not None:
            settings |= dict.fromkeys(CYCLED, moment.momentum)
    every = [
        {"momentum": key.momentum if each.momentum is None else each.momentum} | settings for each in key.optimizers
    ]
    return build_optimizers(key.optimizers, rate_M, decay_M, every, hyper.codes.get("optimizer"))


def _gradients(
    recipe: Recipe,
    hyper: Hyperparameters,
    images: DeviceImages,
    order: Order,
    epoch: jax.Array,
    state: State,
    keys: dict[Role, jax.Array],
    number: jax.Array,
) -> tuple[Params, Params, Tally]:
    """The gradients of the mean loss of a step's batch, the batch statistics after the step, and the batch's tally."""
    key, method, at_once = recipe.key, recipe.method, recipe.at_once
    B = key.batch_size
    drops = key.dropout or module_of(key.layers) is not None  # a module may drop out at a rate of its own
    examples = _examples_in_batch(key, order, number)
    derive = (lambda params: Derived(params, None)) if method is None else method.derive
    derived, pull_back = jax.vjp(derive, state.params)

    def add_part(part: jax.Array, carry: tuple[Params, Params, Tally]) -> tuple[Params, Params, Tally]:
        gradients, batch_stats, tally = carry
        first = part * at_once
        batch = _batch(recipe, images, order, keys, number * B + first, first)
        dropout = DropoutSource(hyper.numbers["dropout"], keys[Role.DROPOUT], first) if drops else None
        sampling = SamplingSource(keys[Role.SAMPLING], first) if method is not None and method.samples else None

        def loss(layers: Params) -> tuple[jax.Array, tuple[Params, Tally]]:
            inputs = _normalise(images, batch.pixels)
            activation = hyper.codes.get("activation")
            logits, moved = recipe.forward(layers, batch_stats, inputs, dropout, sampling, batch.weight, activation)
            part_tally = count_batch(logits, batch.labels, batch.weight, hyper.numbers.get("label_smoothing"))
            return _mean_loss(part_tally.loss, examples), (moved, part_tally)

        part_gradients, (moved, part_tally) = jax.grad(loss, has_aux=True)(derived.layers)
        return jax.tree.map(jnp.add, gradients, part_gradients), moved, jax.tree.map(jnp.add, tally, part_tally)

    nothing = (
        jax.tree.map(jnp.zeros_like, derived.layers),
        state.batch_stats,
        empty_tally(hyper.numbers["learning_rate"]),
    )
    gradients, batch_stats, tally = lax.fori_loop(0, B // at_once, add_part, nothing)
    weight = jnp.float32(0) if method is None else method.divergence_weight(epoch)
    weights = jax.tree.map(lambda divergence_M: jnp.full_like(divergence_M, weight), derived.divergence)
    (gradients,) = pull_back(Derived(gradients, weights))
    if "gradient_clip" in key.factors:
        gradients = clip_gradients(gradients, hyper.numbers["gradient_clip"])
    return gradients, batch_stats, tally


def _examples_in_batch(key: CohortKey, order: Order, number: jax.Array) -> jax.Array:
    """How many examples the batch of a step has: (), or (M,) where members see different numbers of them."""
    left = (key.dataset.train if order.seen is None else order.seen) - number * key.batch_size
    # at least 1: a member that is through divides by it, too, and what comes out is not used
    return (jnp.minimum(key.batch_size, left) if order.seen is None else jnp.clip(left, 1, key.batch_size)).astype(
        jnp.float32
    )


def _mean_loss(loss_M: Array, examples: jax.Array) -> jax.Array:
    """The sum over models, of which each is the mean over its examples: no model's loss depends on another's."""
    return jnp.sum(loss_M) / examples if examples.ndim == 0 else jnp.sum(loss_M / examples)


class _Batch(NamedTuple):
    """Pixels (B, M, H, W, C) and labels (B, M) of a part of a batch; weights, (B,) or (B, M), are 0 after the last."""

    pixels: jax.Array
    labels: jax.Array
    weight: jax.Array


def _batch(
    recipe: Recipe, images: DeviceImages, order: Order, keys: dict[Role, jax.Array], start: jax.Array, first: jax.Array
) -> _Batch:
    """The examples from `start` on in the order, augmented. `first` is the index in the batch of the first of them."""
    key, at_once, models = recipe.key, recipe.at_once, recipe.models

    def cut(part: Array) -> jax.Array:
        return fold_models(lax.dynamic_slice_in_dim(part, start, at_once), models)

    choice_BM = cut(order.examples)
    position_B = start + jnp.arange(at_once)
    if order.seen is None:
        weight = (position_B < key.dataset.train).astype(jnp.float32)
    else:
        weight = (position_B.reshape(-1, *(1,) * len(models)) < order.seen).astype(jnp.float32)
    pixels, label_BM = _gather(images, choice_BM)
    if order.labels is not None:
        label_BM = cut(order.labels)
    if order.triggered is not None:
        pixels = with_patch(pixels, cut(order.triggered))
    return _Batch(_augment(pixels, keys.get(Role.AUGMENTATION), key.augmentation, first), label_BM, weight)


def mask(method: Method, state: State, epoch: jax.Array) -> State:
    """The state with the masks of an epoch, and the weights that they take away at zero."""
    masks = method.mask(state.params, state.masks, epoch)
    return state._replace(params=apply_masks(state.params, masks), masks=masks)


def evaluate(
    forward: Forward,
    batch: int,
    params: Params,
    batch_stats: Params,
    codes: dict[str, Array],
    images: DeviceImages,
    first: jax.Array,
    last: jax.Array,
) -> Tally:
    """Sums over the examples first to last - 1, each counted once. All models share the images of a batch.

    `codes` are those of the members' hyperparameters.
    """

    def add_batch(number: jax.Array, tally: Tally) -> Tally:
        index_B = first + number * batch + jnp.arange(batch)
        pixels, label_BM = _gather(images, jnp.minimum(index_B, last - 1)[:, None])
        weight_B = (index_B < last).astype(jnp.float32)
        logits, _ = forward(params, batch_stats, _normalise(images, pixels), None, None, None, codes.get("activation"))
        return jax.tree.map(jnp.add, tally, count_batch(logits, label_BM, weight_B))

    leaf = jax.tree.leaves(params)[0]
    return lax.fori_loop(0, (last - first + batch - 1) // batch, add_batch, empty_tally(leaf[(0,) * (leaf.ndim - 1)]))


def fold_models(tree: Any, models: tuple[int, ...]) -> Any:
    """Reshapes arrays (..., M) to (..., *models). Scalars stay as they are."""
    return jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:-1], *models) if leaf.ndim else leaf, tree)


def unfold_models(tree: Any, models: tuple[int, ...]) -> Any:
    """Reshapes arrays (..., *models) to (..., M). Scalars stay as they are."""
    axes = len(models)
    return jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:-axes], -1) if leaf.ndim else leaf, tree)


def _epoch_keys(recipe: Recipe, seed_M: Array, epoch: jax.Array) -> dict[Role, jax.Array]:
    """The keys, (M,) by role, that the keys of an epoch's steps are folded from."""
    roles = (Role.DROPOUT, Role.SAMPLING, *((Role.AUGMENTATION,) if recipe.key.augmentation else ()))
    fold_role = jax.vmap(lambda key, role: fold(key, role, epoch), in_axes=(0, None))
    root_M = root_keys(seed_M, recipe.method is not None)
    return {role: fold_role(root_M, role) for role in roles}


def _gather(images: DeviceImages, choice_BM: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Raw pixels (B, M, H, W, C) and labels (B, M)."""
    return images.pixels[choice_BM], images.labels[choice_BM]


def shared_images(images: DeviceImages, index_B: jax.Array) -> jax.Array:
    """Images as they enter the network, (B, H, W, C, 1), the same for all models."""
    return _normalise(images, _gather(images, index_B[:, None])[0])


def _augment(pixels_BMHWC: jax.Array, key_M: jax.Array | None, names: tuple[str, ...], first: jax.Array) -> jax.Array:
    """The images after each member's own augmentation. `first` is the index in the batch of the first image."""
    if key_M is None:
        return pixels_BMHWC
    pixels = pixels_BMHWC.reshape(len(pixels_BMHWC), -1, *pixels_BMHWC.shape[-3:])
    drawn = jax.vmap(lambda key, images: augment(key, images, names, first), in_axes=(0, 1), out_axes=1)
    return drawn(key_M.reshape(-1), pixels).reshape(pixels_BMHWC.shape)


def _normalise(images: DeviceImages, pixels_BMHWC: jax.Array) -> jax.Array:
    """The images as they enter the network, (B, H, W, C, M)."""
    models = pixels_BMHWC.ndim - 4
    pixels = jnp.moveaxis(pixels_BMHWC, range(1, models + 1), range(-models, 0)).astype(jnp.float32)
    scale, shift = (channels.reshape(-1, *(1,) * models) for channels in (images.scale, images.shift))
    return pixels * scale + shift
