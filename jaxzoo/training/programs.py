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
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.devices import AXIS, TILE, Spread, over_models, platform_of, sharding_specs
from jaxzoo.models.engines import evaluated_at_once, population_forward
from jaxzoo.models.lanes import gains_by_folding
from jaxzoo.models.networks import Params
from jaxzoo.models.tally import Tally
from jaxzoo.models.variables import abstract_variables
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.layers import Layers
from jaxzoo.spec.optimizer import Optimizer
from jaxzoo.spec.plan import CohortKey, steps_of
from jaxzoo.spec.shapes import passages
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training import steps
from jaxzoo.training.hyperparameters import Hyperparameters, limits_examples, number_names, whole_names
from jaxzoo.training.optimizers import build_optimizers
from jaxzoo.training.order import see, shuffle
from jaxzoo.training.sparsify import Method, build_method
from jaxzoo.training.steps import DeviceImages, Recipe, State

# images at a time, or a few more: the activations of a training step then stay in a core's cache
PART_BYTES = 6 * 10**9  # of all activations of a step that wait for the backward pass, on other devices than CPUs
CACHED_IMAGES = 2
CACHED_VALUES = 15_000  # of a model; networks with fewer take more images, and add up their gradients less often
KEPT_PROGRAMS = 6  # a zoo trains one kind of cohort after the other; what is compiled for earlier kinds is let go

MODELS, COPIES = Spread.MODELS, Spread.COPIES


class Program(NamedTuple):
    """The compiled functions of a cohort key. M is the slab's width, S the steps and B the batch size.

    see(hyperparameters, labels) -> Seen, of arrays (N, M): what members see of the training examples; None where all
    see all of them as they are.
    shuffle(seed_M, seen, epoch) -> Order, of arrays (S * B, M).
    begin_optimizer(params) -> the optimizer's state before the first step.
    train(state, tally, hyperparameters, images, order, epoch, first, last) -> (state, tally), both after the steps
    first to last - 1. An epoch may be cut anywhere and ends in the same bits.
    evaluate(params, batch_stats, codes, images, first, last) -> Tally over the examples first to last - 1.
    mask(state, epoch) -> the state with the masks of an epoch; None for a dense zoo.
    sparse(params) -> the parameters as they are evaluated and saved; None for a dense zoo.
    """

    key: CohortKey
    mesh: Mesh
    lanes: int
    method: Method | None
    see: jax.stages.Wrapped | None
    shuffle: jax.stages.Wrapped
    begin_optimizer: jax.stages.Wrapped
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
        """Training steps in an epoch. The last batch may be incomplete."""
        return steps_of(self.key)


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def build_program(key: CohortKey, engine: str, lanes: int, mesh: Mesh, twin: TwinSpec | None = None) -> Program:
    """The programs of a cohort key, or of its twins. Each is compiled on first use, once for all cohorts of the key.

    Raises InputError for an engine that cannot compute such networks.
    """
    method = None if twin is None else build_method(twin, key.layers)
    forward = population_forward(
        engine, key.layers, key.dataset.classes, key.activations, key.precision, platform_of(mesh)
    )
    at_once = images_at_once(key, engine, lanes, mesh)
    recipe = Recipe(
        key,
        method,
        forward,
        at_once=at_once,
        models=_model_axes(key.layers, engine, lanes, at_once, mesh),
        schedule_epochs=_schedule_epochs(key, twin),
    )
    train = functools.partial(steps.train, recipe)
    # what does not depend on the kind of members is compiled once for all kinds
    alike = key._replace(activations=(), optimizers=(), momentum=0.0)
    return Program(
        key=key,
        mesh=mesh,
        lanes=lanes,
        method=method,
        see=_build_see(alike, mesh) if whole_names(key) else None,
        shuffle=_build_shuffle(alike, twin is not None, mesh),
        begin_optimizer=_build_begin(key.optimizers, limits_examples(key), mesh),
        train=over_models(
            mesh,
            "train",
            train,
            (MODELS, MODELS, MODELS, COPIES, MODELS, COPIES, COPIES, COPIES),
            lambda state, *_: (sharding_specs(state), P(AXIS)),
            donate=(0, 1),
        ),
        # a twin is evaluated as its parent is
        evaluate=_build_evaluate(alike._replace(activations=key.activations), engine, lanes, mesh),
        mask=None if twin is None else _build_mask(twin, key.layers, mesh),
        sparse=None if twin is None else _build_sparse(twin, key.layers, mesh),
    )


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _build_evaluate(key: CohortKey, engine: str, lanes: int, mesh: Mesh) -> jax.stages.Wrapped:
    forward = population_forward(
        engine, key.layers, key.dataset.classes, key.activations, key.precision, platform_of(mesh)
    )
    evaluate = functools.partial(steps.evaluate, forward, evaluated_at_once(engine, lanes))
    spread = (MODELS, MODELS, MODELS, COPIES, COPIES, COPIES)
    return over_models(mesh, "evaluate", evaluate, spread, lambda *_: P(AXIS))


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _build_shuffle(key: CohortKey, twins: bool, mesh: Mesh) -> jax.stages.Wrapped:
    order = functools.partial(shuffle, key, twins)
    return over_models(
        mesh,
        "shuffle",
        order,
        (MODELS, MODELS, COPIES),
        lambda *arguments: sharding_specs(jax.eval_shape(order, *arguments)),
    )


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _build_begin(optimizers: tuple[Optimizer, ...], each: bool, mesh: Mesh) -> jax.stages.Wrapped:
    begin = _begin_optimizer(optimizers, each)
    return over_models(
        mesh, "begin_optimizer", begin, (MODELS,), lambda params: sharding_specs(jax.eval_shape(begin, params))
    )


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _build_see(key: CohortKey, mesh: Mesh) -> jax.stages.Wrapped:
    seen = functools.partial(see, key)
    return over_models(
        mesh, "see", seen, (MODELS, COPIES), lambda *arguments: sharding_specs(jax.eval_shape(seen, *arguments))
    )


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _build_mask(twin: TwinSpec, layers: Layers, mesh: Mesh) -> jax.stages.Wrapped:
    mask = functools.partial(steps.mask, build_method(twin, layers))
    return over_models(mesh, "mask", mask, (MODELS, COPIES), lambda state, _: sharding_specs(state))


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _build_sparse(twin: TwinSpec, layers: Layers, mesh: Mesh) -> jax.stages.Wrapped:
    sparse = build_method(twin, layers).sparse
    return over_models(mesh, "sparse", sparse, (MODELS,), lambda params: sharding_specs(sparse(params)))


def _begin_optimizer(optimizers: tuple[Optimizer, ...], each: bool) -> Any:
    """Parameters to the optimizer's state, which depends on no learning rate, weight decay or setting.

    With `each`, models count their steps for themselves.
    """
    nothing = np.zeros((), np.float32)
    begin = build_optimizers(optimizers, nothing, nothing, [{}] * len(optimizers), nothing).init
    if not each:
        return begin

    def begin_each(params: Params) -> optax.OptState:
        """With a step count for each model: they are through with their examples at different steps."""
        models = jax.tree.leaves(params)[0].shape[-1]
        return jax.tree.map(lambda leaf: leaf if leaf.ndim else jnp.full(models, leaf), begin(params))

    return begin_each


def _schedule_epochs(key: CohortKey, twin: TwinSpec | None) -> int | None:
    """The epochs that the schedule spans: those of the zoo, or of its twins."""
    return key.epochs if key.epochs is None or twin is None else twin.length


def images_at_once(key: CohortKey, engine: str, lanes: int, mesh: Mesh) -> int:
    """How many images of a batch go forward and backward at a time."""
    if engine != "lanes":
        return key.batch_size
    divisors = [size for size in range(1, key.batch_size + 1) if key.batch_size % size == 0]
    values = values_of_image(key)
    if platform_of(mesh) != "cpu":
        most = max(1, PART_BYTES // (4 * lanes * values))
        return max(size for size in divisors if size <= most)
    fewest = next((size for size in divisors if size >= CACHED_IMAGES), key.batch_size)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(abstract_variables(key.layers, key.dataset)["params"]))
    # every part adds its gradients, as many as there are parameters
    most = max(CACHED_VALUES, parameters)
    return max([fewest, *(size for size in divisors if size * values <= most)])


def values_of_image(key: CohortKey) -> int:
    """How many values one model's layers make of an image."""
    return sum(math.prod(passed.after) for passed in passages(key.layers, key.dataset.image_shape, key.dataset.classes))


def _model_axes(layers: Layers, engine: str, lanes: int, at_once: int, mesh: Mesh) -> tuple[int, ...]:
    """The shape of the model axis while training: two axes where models, or images, fill the registers of a TPU."""
    if engine != "lanes" or platform_of(mesh) != "tpu" or not gains_by_folding(layers):
        return (lanes,)
    if lanes % math.prod(TILE) == 0:
        return TILE[0], lanes // TILE[0]
    # images of the batch take the place of models, where they fill more than half of their registers
    filled = 2 * at_once > TILE[0] * -(-at_once // TILE[0])
    return (1, lanes) if lanes % TILE[1] == 0 and filled else (lanes,)


def abstract_state(program: Program) -> State:
    """Placeholders of a slab's state: shapes and dtypes."""
    return state_shapes(program.key, program.method, program.width)


@pinned_settings()
def state_shapes(key: CohortKey, method: Method | None, width: int) -> State:
    """Placeholders of the state of so many models, or of their twins, side by side: shapes and dtypes."""
    variables = abstract_variables(key.layers, key.dataset)
    zero = np.zeros((), np.float32)
    one_model = jax.tree.map(lambda leaf: np.broadcast_to(zero, (1, *leaf.shape)), variables)
    params, masks = method.begin(one_model["params"]) if method else (one_model["params"], {})
    params, masks, batch_stats = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*leaf.shape[1:], width), leaf.dtype),
        (params, masks, one_model.get("batch_stats", {})),
    )

    def begin(params: Params) -> optax.OptState:
        """Built here, where nothing is computed: several optimizers side by side would take a device."""
        return _begin_optimizer(key.optimizers, limits_examples(key))(params)

    optimizer: optax.OptState = jax.eval_shape(begin, params)
    return State(params, optimizer, masks, batch_stats)


def abstract_arguments(program: Program) -> tuple[Any, ...]:
    """Shapes, dtypes and shardings of a call of `train`, for compiling it ahead of time."""
    key, dataset, width = program.key, program.key.dataset, program.width

    def shaped(spec: P, dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(program.mesh, spec))

    def per_model(dtype: Any) -> Any:
        return shaped(P(AXIS), dtype, width)

    state = jax.tree.map(lambda leaf: shaped(sharding_specs(leaf), leaf.dtype, *leaf.shape), abstract_state(program))
    count = dataset.train + dataset.validation + dataset.test
    images = DeviceImages(
        shaped(P(), np.uint8, count, dataset.size, dataset.size, dataset.channels),
        shaped(P(), np.int32, count),
        *(shaped(P(), np.float32, dataset.channels) for _ in range(2)),
    )
    hyperparameters = Hyperparameters(
        per_model(np.uint32),
        {name: per_model(np.float32) for name in number_names(key)},
        {name: per_model(np.int32) for name in whole_names(key)},
        {name: per_model(np.int32) for name in key.form},
    )
    labels = shaped(P(), np.int32, dataset.train)
    seen = NOTHING_SPECIAL if program.see is None else jax.eval_shape(program.see, hyperparameters, labels)
    shapes = jax.eval_shape(program.shuffle, hyperparameters.seed, seen, np.int32(1))
    order = jax.tree.map(lambda leaf: shaped(sharding_specs(leaf), leaf.dtype, *leaf.shape), shapes)
    tally = Tally(*(per_model(np.float32) for _ in range(2)))
    # scalars as the host gives them, so that a call of the same shapes finds the program compiled
    return state, tally, hyperparameters, images, order, *[jax.ShapeDtypeStruct((), np.int32)] * 3
