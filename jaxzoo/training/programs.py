"""The compiled programs of a cohort: shuffle, train some steps, evaluate. Each runs on a slab, `lanes` models a device.

A program never depends on how many members there are, so a member's numbers do not depend on its company.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxzoo.devices import AXIS, over_models, platform_of, sharding_specs
from jaxzoo.models.engines import evaluated_at_once, population_forward
from jaxzoo.models.networks import variable_shapes
from jaxzoo.spec.layers import architecture_layers
from jaxzoo.spec.plan import CohortKey
from jaxzoo.spec.zoo_spec import TwinSpec
from jaxzoo.training import steps as loops
from jaxzoo.training.optimizers import build_optimizer
from jaxzoo.training.sparsify import Method, build_method
from jaxzoo.training.steps import DeviceImages, Hyperparameters, Recipe, State, Tally, steps_of

TILE = (8, 128)  # a TPU's register: with the models folded to such tiles no kernel ever cuts one
CACHED_IMAGES = 2  # as many at a time, or a few more, keep the activations of a training step in a core's cache


class Program(NamedTuple):
    """The compiled functions of a cohort key. M is the slab's width, S the steps and B the batch size.

    shuffle(seed_M, epoch) -> order (S * B, M);
    train(state, tally, hyperparameters, images, order, epoch, first, last) -> (state, tally), both after the steps
    first to last - 1: an epoch may be cut anywhere and ends in the same bits;
    evaluate(params, batch_stats, images, first, last) -> Tally over the examples first to last - 1;
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
        return steps_of(self.key)


@functools.cache
def build_program(key: CohortKey, engine: str, lanes: int, mesh: Mesh, twin: TwinSpec | None = None) -> Program:
    """The programs of a cohort key, or of its twins: compiled on first use, once for all cohorts of that key.

    Raises InputError for an engine that has no such network.
    """
    method = None if twin is None else build_method(twin, architecture_layers(key.architecture))
    forward = population_forward(
        engine, key.architecture, key.dataset.classes, key.activation, key.precision, platform_of(mesh)
    )
    recipe = Recipe(
        key,
        method,
        forward,
        at_once=_images_at_once(key, engine, mesh),
        models=_model_axes(engine, lanes, mesh),
        cycle=_cycle(key, twin),
    )
    compiled = functools.partial(over_models, mesh)
    evaluated = evaluated_at_once(engine, lanes)
    return Program(
        key=key,
        mesh=mesh,
        lanes=lanes,
        method=method,
        shuffle=compiled("shuffle", functools.partial(loops.shuffle, key, method), "M-", lambda *_: P(None, AXIS)),
        train=compiled(
            "train",
            functools.partial(loops.train, recipe),
            "MMM-M---",
            lambda state, *_: (sharding_specs(state), P(AXIS)),
            donate=(0, 1),
        ),
        evaluate=(
            compiled("evaluate", functools.partial(loops.evaluate, forward, evaluated), "MM---", lambda *_: P(AXIS))
            if twin is None
            else build_program(key, engine, lanes, mesh).evaluate  # the same: a twin begins where its parent ended
        ),
        mask=method
        and compiled("mask", functools.partial(loops.mask, method), "M-", lambda state, _: sharding_specs(state)),
        sparse=method and compiled("sparse", method.sparse, "M", lambda params: sharding_specs(method.sparse(params))),
    )


def _cycle(key: CohortKey, twin: TwinSpec | None) -> int | None:
    """The steps of one cycle of learning rates: of the zoo's epochs, or of its twins'."""
    if key.cycle_epochs is None:
        return None
    return (key.cycle_epochs if twin is None else twin.epochs) * steps_of(key)


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


def abstract_arguments(program: Program) -> tuple[Any, ...]:
    """Shapes, dtypes and shardings of a call of `train`, for compiling it ahead of time."""
    key, dataset, width = program.key, program.key.dataset, program.width

    def shaped(spec: P, dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(program.mesh, spec))

    def per_model(dtype: Any) -> Any:
        return shaped(P(AXIS), dtype, width)

    state = jax.tree.map(lambda leaf: shaped(sharding_specs(leaf), leaf.dtype, *leaf.shape), _abstract_state(program))
    count = dataset.train + dataset.validation + dataset.test
    images = DeviceImages(
        shaped(P(), np.uint8, count, dataset.size, dataset.size, dataset.channels),
        shaped(P(), np.int32, count),
        *(shaped(P(), np.float32, dataset.channels) for _ in range(2)),
    )
    order = shaped(P(None, AXIS), np.int32, program.steps * key.batch_size, width)
    hyperparameters = Hyperparameters(per_model(np.uint32), *(per_model(np.float32) for _ in range(3)))
    tally = Tally(*(per_model(np.float32) for _ in range(2)))
    # scalars as they come from the host: then the call of the same shapes finds the program compiled
    return state, tally, hyperparameters, images, order, *[jax.ShapeDtypeStruct((), np.int32)] * 3


def _abstract_state(program: Program) -> State:
    """The shapes of a slab's state."""
    key, width = program.key, program.width
    zero = np.zeros((), np.float32)
    variables: Any = {
        collection: {
            layer: {kind: np.broadcast_to(zero, (1, *shape)) for kind, shape in kinds.items()}
            for layer, kinds in layers.items()
        }
        for collection, layers in variable_shapes(key.architecture, key.dataset).items()
    }
    begin = program.method.begin if program.method else lambda params: (params, {})
    whole = (*begin(variables["params"]), variables.get("batch_stats", {}))
    params, masks, batch_stats = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*leaf.shape[1:], width), leaf.dtype), whole
    )
    optimizer = build_optimizer(key.optimizer, key.momentum, np.zeros(width), np.zeros(width))
    return State(params, jax.eval_shape(optimizer.init, params), masks, batch_stats)
