"""The predictions of a zoo's models: all models at once, by the kernels that trained them."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxzoo.devices import AXIS, Spread, model_mesh, over_models, platform_of, put_lanes
from jaxzoo.errors import InputError
from jaxzoo.models.engines import engines_for, evaluated_at_once, population_forward, usual_lanes
from jaxzoo.models.networks import Variables
from jaxzoo.reading.selection import held_states
from jaxzoo.reading.zoo import Zoo
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.layers import Layers

KEPT_PROGRAMS = 8  # one per activation of a zoo; what is compiled for other zoos is let go


@pinned_settings()
def predict_logits(zoo: Zoo, images: np.ndarray, epoch: int, models: Sequence[int] | None = None) -> np.ndarray:
    """Logits (models, N, classes) float32 on normalised images (N, H, W, C), in evaluation mode.

    They are those of all models at an epoch, or of the given `models`, in that order, and are computed on all of JAX's
    default devices. Raises InputError for images of another shape, and for an epoch or a model that the zoo lacks.
    """
    _check_images(zoo, images)
    zoo.select(epochs=epoch, models=models)  # raises for an epoch or a model that the zoo does not hold
    members = zoo.members if models is None else zoo.members.iloc[list(models)]
    logits = np.empty((len(members), len(images), zoo.spec.dataset.classes), np.float32)
    for activation, group in members.reset_index(drop=True).groupby("activation"):
        logits[group.index] = _logits_of_one_kind(zoo, images, epoch, group["model"].tolist(), str(activation))
    return logits


def predict_classes(zoo: Zoo, images: np.ndarray, epoch: int, models: Sequence[int] | None = None) -> np.ndarray:
    """The class of the largest logit, (models, N); 0 where a logit is not a number. Arguments as `predict_logits`."""
    return np.nan_to_num(predict_logits(zoo, images, epoch, models), nan=-np.inf).argmax(axis=-1)


def _check_images(zoo: Zoo, images: np.ndarray) -> None:
    dataset = zoo.spec.dataset
    wanted = (dataset.size, dataset.size, dataset.channels)
    if images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise InputError(f"images are of shape {images.shape}, expected (N, {', '.join(map(str, wanted))})")


def _logits_of_one_kind(zoo: Zoo, images: np.ndarray, epoch: int, models: list[int], activation: str) -> np.ndarray:
    """The logits of models that share an activation. Weights are read portion by portion, 1 GB at a time."""
    spec, mesh = zoo.spec, model_mesh()
    engine = engines_for(spec.layers, spec.precision)[0]
    lanes = usual_lanes(spec.layers, platform_of(mesh))
    width = mesh.size * lanes
    batches = _batches(images, evaluated_at_once(engine, lanes))
    run = _program(engine, spec.layers, spec.dataset.classes, activation, spec.precision, mesh)
    portion = max(1, held_states(zoo.layout) // width) * width
    logits = np.empty((len(models), len(images), spec.dataset.classes), np.float32)
    for first in range(0, len(models), portion):
        read = models[first : first + portion]
        variables = zoo.variables(epoch, read)
        for start in range(0, len(read), width):
            count = min(width, len(read) - start)
            rows = start + np.minimum(np.arange(width), count - 1)  # the last model fills up the slab
            slab = jax.tree.map(functools.partial(put_lanes, mesh, rows), variables)
            flat = np.asarray(run(slab, batches)).reshape(-1, spec.dataset.classes, width)
            logits[first + start :][:count] = np.moveaxis(flat[: len(images), :, :count], -1, 0)
    return logits


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _program(
    engine: str, layers: Layers, classes: int, activation: str, precision: str, mesh: Mesh
) -> jax.stages.Wrapped:
    forward = population_forward(engine, layers, classes, activation, precision)

    def predict(variables_M: Variables, images_SBHWC: jax.Array) -> jax.Array:
        params_M, batch_stats_M = variables_M["params"], variables_M.get("batch_stats", {})

        def logits(images_BHWC: jax.Array) -> jax.Array:
            return forward(params_M, batch_stats_M, images_BHWC[..., None], None, None, None)[0]

        return lax.map(logits, images_SBHWC)

    return over_models(mesh, "predict", predict, (Spread.MODELS, Spread.COPIES), lambda *_: P(None, None, None, AXIS))


def _batches(images: np.ndarray, at_once: int) -> jax.Array:
    """The images in batches, (S, B, H, W, C). The last image fills up the last batch."""
    steps = -(-len(images) // at_once)
    rows = np.minimum(np.arange(steps * at_once), len(images) - 1)
    return jnp.asarray(images[rows].reshape(steps, at_once, *images.shape[1:]), jnp.float32)
