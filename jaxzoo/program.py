"""The compiled programs of a cohort: shuffle, train some steps, evaluate. Each runs on a slab, `lanes` models a device.

A program never depends on how many members there are, so a member's numbers do not depend on its company.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxzoo.devices import AXIS, over_models, platform_of, sharding_specs
from jaxzoo.engines import Logits, population_logits
from jaxzoo.keys import Role, fold, member_keys
from jaxzoo.networks import Array, DropoutDraw, Params, SamplingDraw, architecture_layers, parameter_shapes
from jaxzoo.optimizers import build_optimizer
from jaxzoo.plan import CohortKey
from jaxzoo.sparsify import Derived, Method, apply_masks, build_method
from jaxzoo.spec import TwinSpec

EVALUATION_BATCH = 4  # images; with 16 lanes the activations stay in a core's cache
TILE = (8, 128)  # a TPU's register: with the models folded to such tiles no kernel ever cuts one
CACHED_IMAGES = 2  # as many at a time, or a few more, keep the activations of a training step in a core's cache


class Hyperparameters(NamedTuple):
    """What differs between the members of a cohort, (M,) each."""

    seed: Array
    learning_rate: Array
    weight_decay: Array
    dropout: Array


class State(NamedTuple):
    """What training changes: leaves (..., M), but for the optimizer's scalar step count.

    `masks`, where a method has them, hold weights at zero.
    """

    params: Params
    optimizer: optax.OptState
    masks: Params


class Tally(NamedTuple):
    """Sums over examples, (M,): of the cross-entropy in nats, and of correct predictions."""

    loss: Array
    correct: Array


class DeviceImages(NamedTuple):
    """All splits one after the other, on every device: pixels (N, H, W, C) uint8, labels (N,), and the normalisation.

    A pixel enters the network as `pixel * scale + shift`, with one scale and shift per channel.
    """

    pixels: Array
    labels: Array
    scale: Array
    shift: Array


class Program(NamedTuple):
    """The compiled functions of a cohort key. M is the slab's width, S the steps and B the batch size.

    shuffle(seed_M, epoch) -> order (S * B, M);
    train(state, tally, hyperparameters, images, order, epoch, first, last) -> (state, tally), both after the steps
    first to last - 1: an epoch may be cut anywhere and ends in the same bits;
    evaluate(params, images, first, last) -> Tally over the examples first to last - 1;
    mask(state, epoch) -> the state with the masks of an epoch;
    sparse(params) -> the parameters as they are evaluated and saved.
    The last two are None for a dense zoo.
    """

    key: CohortKey
    mesh: Mesh
    lanes: int
    method: Method | None
    shuffle: jax.stages.Wrapped
    train: jax.stages.Wrapped
    evaluate: jax.stages.Wrapped
    mask: jax.stages.Wrapped | None
    sparse: jax.stages.Wrapped | None

    @property
    def width(self) -> int:
        """Models in a slab."""
        return self.lanes * self.mesh.size

    @property
    def steps(self) -> int:
        """Steps in an epoch; the last batch may be incomplete."""
        return -(-self.key.dataset.train // self.key.batch_size)


@functools.cache
def build_program(key: CohortKey, engine: str, lanes: int, mesh: Mesh, twin: TwinSpec | None = None) -> Program:
    """The programs of a cohort key, or of its twins: compiled on first use, once for all cohorts of that key."""
    method = None if twin is None else build_method(twin, architecture_layers(key.architecture))
    logits = population_logits(engine, key.architecture, key.dataset.classes, key.activation)
    compiled = functools.partial(over_models, mesh)
    at_once, models = _images_at_once(key, engine, mesh), _model_axes(engine, lanes, mesh)
    return Program(
        key=key,
        mesh=mesh,
        lanes=lanes,
        method=method,
        shuffle=compiled("shuffle", functools.partial(_shuffle, key, method), "M-", lambda *_: P(None, AXIS)),
        train=compiled(
            "train",
            functools.partial(_train, key, method, logits, at_once, models),
            "MMM-M---",
            lambda state, *_: (sharding_specs(state), P(AXIS)),
            donate=(0, 1),
        ),
        evaluate=(
            compiled("evaluate", functools.partial(_evaluate, logits), "M---", lambda *_: P(AXIS))
            if twin is None
            else build_program(key, engine, lanes, mesh).evaluate  # the same: a twin begins where its parent ended
        ),
        mask=method
        and compiled("mask", functools.partial(_mask, method), "M-", lambda state, _: sharding_specs(state)),
        sparse=method and compiled("sparse", method.sparse, "M", lambda params: sharding_specs(method.sparse(params))),
    )


def _images_at_once(key: CohortKey, engine: str, mesh: Mesh) -> int:
    """The part of a batch that goes forward and backward at a time; gradients are summed over parts."""
    if engine != "lanes" or platform_of(mesh) != "cpu":
        return key.batch_size
    sizes = (size for size in range(CACHED_IMAGES, key.batch_size) if key.batch_size % size == 0)
    return next(sizes, key.batch_size)


def _model_axes(engine: str, lanes: int, mesh: Mesh) -> tuple[int, ...]:
    """The shape of the model axis while training: folded to two where that fills the registers of a TPU."""
    if engine != "lanes" or platform_of(mesh) != "tpu" or lanes % math.prod(TILE) != 0:
        return (lanes,)
    return TILE[0], lanes // TILE[0]


def fold_models(tree: Any, models: tuple[int, ...]) -> Any:
    """Arrays (..., M) as (..., *models); scalars as they are."""
    return jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:-1], *models) if leaf.ndim else leaf, tree)


def unfold_models(tree: Any, models: tuple[int, ...]) -> Any:
    """Arrays (..., *models) as (..., M); scalars as they are."""
    axes = len(models)
    return jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:-axes], -1) if leaf.ndim else leaf, tree)


def abstract_arguments(program: Program) -> tuple[Any, ...]:
    """Shapes, dtypes and shardings of a call of `train`, for compiling it ahead of time."""
    key, dataset, width = program.key, program.key.dataset, program.width

    def shaped(spec: P, dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(program.mesh, spec))

    def per_model(dtype: Any) -> Any:
        return shaped(P(AXIS), dtype, width)

    shapes = parameter_shapes(key.architecture, dataset)
    params: Any = {
        layer: {kind: jax.ShapeDtypeStruct((*shape, width), np.float32) for kind, shape in kinds.items()}
        for layer, kinds in shapes.items()
    }
    optimizer = build_optimizer(key.optimizer, key.momentum, np.zeros(width), np.zeros(width))
    state = jax.tree.map(
        lambda leaf: shaped(sharding_specs(leaf), leaf.dtype, *leaf.shape),
        State(params, jax.eval_shape(optimizer.init, params), {}),
    )
    count = dataset.train + dataset.validation + dataset.test
    images = DeviceImages(
        shaped(P(), np.uint8, count, dataset.size, dataset.size, dataset.channels),
        shaped(P(), np.int32, count),
        *(shaped(P(), np.float32, dataset.channels) for _ in range(2)),
    )
    order = shaped(P(None, AXIS), np.int32, program.steps * key.batch_size, width)
    hyperparameters = Hyperparameters(per_model(np.uint32), *(per_model(np.float32) for _ in range(3)))
    tally = Tally(*(per_model(np.float32) for _ in range(2)))
    return state, tally, hyperparameters, images, order, *(shaped(P(), np.int32) for _ in range(3))


def _root_keys(method: Method | None, seed_M: Array) -> jax.Array:
    """What everything that the members draw is folded from, (M,) keys; a twin's draws are not its parent's."""
    key_M = member_keys(jnp.asarray(seed_M))
    return key_M if method is None else jax.vmap(lambda key: fold(key, Role.TWIN))(key_M)


def _shuffle(key: CohortKey, method: Method | None, seed_M: jax.Array, epoch: jax.Array) -> jax.Array:
    """Every member's own order of the training images in an epoch, (S * B, M); fillers at the end are image 0."""
    count, batch = key.dataset.train, key.batch_size

    def permutation(member_key: jax.Array) -> jax.Array:
        return jax.random.permutation(fold(member_key, Role.SHUFFLE, epoch), count)

    order_NM = jax.vmap(permutation, out_axes=-1)(_root_keys(method, seed_M))
    return jnp.pad(order_NM, ((0, -count % batch), (0, 0)))


def _train(
    key: CohortKey,
    method: Method | None,
    logits: Logits,
    at_once: int,
    models: tuple[int, ...],
    state: State,
    tally: Tally,
    hyper: Hyperparameters,
    images: DeviceImages,
    order: jax.Array,
    epoch: jax.Array,
    first: jax.Array,
    last: jax.Array,
) -> tuple[State, Tally]:
    """The steps first to last - 1, their arrays with the model axes `models`."""
    roles = (Role.DROPOUT, Role.SAMPLING)
    fold_role = jax.vmap(lambda key, role: fold(key, role, epoch), in_axes=(0, None))
    epoch_keys = [fold_role(_root_keys(method, hyper.seed), role) for role in roles]
    derive = (lambda params: Derived(params, None)) if method is None else method.derive
    state, tally, hyper = fold_models((state, tally, hyper), models)
    optimizer = build_optimizer(key.optimizer, key.momentum, hyper.learning_rate, hyper.weight_decay)
    B = key.batch_size

    def step(number: jax.Array, carry: tuple[State, Tally]) -> tuple[State, Tally]:
        (params, moments, masks), tally = carry
        examples = jnp.minimum(B, key.dataset.train - number * B).astype(jnp.float32)
        fold_in = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        dropout_key_M, sampling_key_M = (fold_in(key_M, number).reshape(models) for key_M in epoch_keys)
        derived, pull_back = jax.vjp(derive, params)

        def add_part(part: jax.Array, sums: tuple[Params, Tally]) -> tuple[Params, Tally]:
            first = part * at_once
            weight_B = (number * B + first + jnp.arange(at_once) < key.dataset.train).astype(jnp.float32)
            choice_BM = fold_models(lax.dynamic_slice_in_dim(order, number * B + first, at_once), models)
            batch, label_BM = _gather(images, choice_BM)
            dropout = DropoutDraw(hyper.dropout, dropout_key_M, first) if key.dropout else None
            sampling = SamplingDraw(sampling_key_M, first) if method is not None and method.samples else None

            def loss(layers: Params) -> tuple[jax.Array, Tally]:
                part_tally = _count(logits(layers, batch, dropout, sampling), label_BM, weight_B)
                return jnp.sum(part_tally.loss) / examples, part_tally

            return jax.tree.map(jnp.add, sums, jax.grad(loss, has_aux=True)(derived.layers))

        nothing = jax.tree.map(jnp.zeros_like, derived.layers), jax.tree.map(jnp.zeros_like, tally)
        gradients, batch_tally = lax.fori_loop(0, B // at_once, add_part, nothing)
        weight = jnp.float32(0) if method is None else method.divergence_weight(epoch)
        weights = jax.tree.map(lambda divergence_M: jnp.full_like(divergence_M, weight), derived.divergence)
        (gradients,) = pull_back(Derived(gradients, weights))
        updates, moments = optimizer.update(gradients, moments, params)
        params = apply_masks(optax.apply_updates(params, updates), masks)
        return State(params, moments, masks), jax.tree.map(jnp.add, tally, batch_tally)

    return unfold_models(lax.fori_loop(first, last, step, (state, tally)), models)


def _mask(method: Method, state: State, epoch: jax.Array) -> State:
    masks = method.mask(state.params, state.masks, epoch)
    return State(apply_masks(state.params, masks), state.optimizer, masks)


def _evaluate(logits: Logits, params: Params, images: DeviceImages, first: jax.Array, last: jax.Array) -> Tally:
    """Every example of first to last - 1 exactly once, the images of a batch shared by all models."""

    def add_batch(number: jax.Array, tally: Tally) -> Tally:
        place_B = first + number * EVALUATION_BATCH + jnp.arange(EVALUATION_BATCH)
        batch, label_BM = _gather(images, jnp.minimum(place_B, last - 1)[:, None])
        weight_B = (place_B < last).astype(jnp.float32)
        return jax.tree.map(jnp.add, tally, _count(logits(params, batch, None, None), label_BM, weight_B))

    batches = (last - first + EVALUATION_BATCH - 1) // EVALUATION_BATCH
    return lax.fori_loop(0, batches, add_batch, empty_tally(params["dense2"]["bias"][0]))


def empty_tally(like_M: Array) -> Tally:
    """Nothing counted yet, for as many models as the array has."""
    return Tally(jnp.zeros_like(like_M), jnp.zeros_like(like_M))


def _gather(images: DeviceImages, choice_BM: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Normalised images (B, H, W, C, M) and labels (B, M)."""
    models = choice_BM.ndim - 1
    pixels_BMHWC = images.pixels[choice_BM]
    pixels = jnp.moveaxis(pixels_BMHWC, range(1, models + 1), range(-models, 0)).astype(jnp.float32)
    scale, shift = (channels.reshape(-1, *(1,) * models) for channels in (images.scale, images.shift))
    return pixels * scale + shift, images.labels[choice_BM]


def _count(logits_BOM: jax.Array, label_BM: jax.Array, weight_B: jax.Array) -> Tally:
    """Cross-entropy of log-softmax and correct predictions, summed over the batch with its weights."""
    chosen = jnp.arange(logits_BOM.shape[1]).reshape(-1, *(1,) * (label_BM.ndim - 1)) == label_BM[:, None]
    loss_BM = -jnp.sum(jnp.where(chosen, jax.nn.log_softmax(logits_BOM, axis=1), 0.0), axis=1)
    correct_BM = (jnp.argmax(logits_BOM, axis=1) == label_BM).astype(jnp.float32)
    return Tally(jnp.tensordot(weight_B, loss_BM, 1), jnp.tensordot(weight_B, correct_BM, 1))
