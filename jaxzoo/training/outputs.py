"""What the networks of a population say of every example of a split, computed on the devices that train them."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxzoo.devices import AXIS, Spread, over_models, platform_of
from jaxzoo.models.engines import Forward, evaluated_at_once, population_forward
from jaxzoo.models.networks import Array, Params
from jaxzoo.spec.outputs import Outputs
from jaxzoo.spec.plan import CohortKey
from jaxzoo.training.population import Population, Slab, Stopped, evaluated_params, split_bounds
from jaxzoo.training.programs import KEPT_PROGRAMS
from jaxzoo.training.steps import DeviceImages, shared_images

VALUE_BYTES = 2  # float16
EXAMPLES = 1024  # whose logits leave the devices at a time
MODELS, COPIES = Spread.MODELS, Spread.COPIES


def outputs_of(
    population: Population,
    images: DeviceImages,
    outputs: Outputs,
    engine: str,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, dict[str, np.ndarray]]:
    """By kind and split the outputs of every member, float16: logits (models, N, classes), or margins (models, N).

    What float16 does not hold becomes infinite; a member that diverged says NaN. In float32 there are never more than
    those of a slab on some examples. Raises Stopped between two slabs when `should_stop()`.
    """
    program, slabs, count = population[:3]
    bounds = split_bounds(program.key.dataset)
    shapes = {split: output_shape(outputs.kind, program.key, split) for split in outputs.splits}
    kept = {split: np.empty((count, *shape), np.float16) for split, shape in shapes.items()}
    labels = np.asarray(jax.device_get(images.labels))
    compute = _build_logits(program.key, engine, program.lanes, program.mesh)
    for index, slab in enumerate(slabs):
        if should_stop():
            raise Stopped
        rows = slice(index * program.width, min((index + 1) * program.width, count))
        for split in outputs.splits:
            begin, end = bounds[split]
            for first, last, logits_NOM in _logits(compute, evaluated_params(program, slab), slab, images, begin, end):
                logits_MNO = np.moveaxis(logits_NOM[..., : rows.stop - rows.start], -1, 0)
                values = logits_MNO if outputs.kind == "logits" else _margins(logits_MNO, labels[first:last])
                with np.errstate(over="ignore"):
                    kept[split][rows, first - begin : last - begin] = values
    return {outputs.kind: kept}


def output_shape(kind: str, key: CohortKey, split: str) -> tuple[int, ...]:
    """The shape of one model's outputs on a split."""
    examples: int = getattr(key.dataset, split)
    return (examples, key.dataset.classes) if kind == "logits" else (examples,)


def _logits(
    compute: jax.stages.Wrapped, params: Params, slab: Slab, images: DeviceImages, begin: int, end: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields (first, last, logits (last - first, O, M)) of some images after the other, from `begin` to `end` - 1."""
    first, codes = begin, slab.hyperparameters[0].codes
    while first < end:
        logits_NOM = jax.device_get(compute(params, slab.state.batch_stats, codes, images, np.int32(first)))
        last = min(first + len(logits_NOM), end)
        yield first, last, logits_NOM[: last - first]
        first = last


def _margins(logits_MNO: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    """The logit of the true class less the largest other one, (M, N); NaN where logits are no numbers."""
    true = label_N[:, None] == np.arange(logits_MNO.shape[-1])
    own_MN = np.where(true, logits_MNO, 0).sum(axis=-1)
    with np.errstate(invalid="ignore"):  # of infinite logits
        return np.asarray(own_MN - np.where(true, -np.inf, logits_MNO).max(axis=-1))


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _build_logits(key: CohortKey, engine: str, lanes: int, mesh: Mesh) -> jax.stages.Wrapped:
    """(params, batch_stats, codes, images, first) -> logits (N, O, M) of N images from the first on.

    Beyond the last image they are of the last one.
    """
    forward = population_forward(
        engine, key.layers, key.dataset.classes, key.activations, key.precision, platform_of(mesh)
    )
    logits = functools.partial(_logits_of_some, forward, evaluated_at_once(engine, lanes))
    return over_models(mesh, "logits", logits, (MODELS, MODELS, MODELS, COPIES, COPIES), lambda *_: P(None, None, AXIS))


def _logits_of_some(
    forward: Forward,
    batch: int,
    params: Params,
    batch_stats: Params,
    codes: dict[str, Array],
    images: DeviceImages,
    first: jax.Array,
) -> jax.Array:
    batches = -(-EXAMPLES // batch)
    index_N = jnp.minimum(first + jnp.arange(batches * batch), len(images.labels) - 1)

    def of_batch(index_B: jax.Array) -> jax.Array:
        return forward(params, batch_stats, shared_images(images, index_B), None, None, None, codes.get("activation"))[
            0
        ]

    logits = lax.map(of_batch, index_N.reshape(batches, batch))
    return logits.reshape(batches * batch, *logits.shape[2:])
