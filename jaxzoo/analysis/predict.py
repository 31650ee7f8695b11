"""What the models of a zoo make of images: all of them at once, by the kernels they were trained with."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxzoo.devices import AXIS, model_mesh, over_models, platform_of, put_lanes
from jaxzoo.errors import InputError
from jaxzoo.models.engines import engines_for, evaluated_at_once, population_forward, usual_lanes
from jaxzoo.models.networks import Variables
from jaxzoo.reading.selection import held_states
from jaxzoo.reading.zoo import Zoo


def predict_logits(zoo: Zoo, images: np.ndarray, epoch: int, models: Sequence[int] | None = None) -> np.ndarray:
    """Logits (models, N, classes) float32 on normalised images (N, H, W, C), in evaluation mode.

    Of all models at an epoch, or those given, in that order; on all of JAX's default devices. Raises InputError for
    images of another shape, an epoch or a model that is not there.
    """
    dataset = zoo.spec.dataset
    wanted = (dataset.size, dataset.size, dataset.channels)
    if images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise InputError(f"images are of shape {images.shape}, expected (N, {', '.join(map(str, wanted))})")
    zoo.select(epochs=epoch, models=models)  # raises for what is not there
    numbers = np.arange(len(zoo.members)) if models is None else np.asarray(models)
    activation_of = zoo.members["activation"].to_numpy()[numbers]
    mesh = model_mesh()
    engine = engines_for(zoo.spec.architecture, zoo.spec.precision)[0]
    lanes = usual_lanes(zoo.spec.architecture, platform_of(mesh))
    width = mesh.size * lanes
    portion = max(1, held_states(zoo.layout) // width) * width
    batches = _batches(images, evaluated_at_once(engine, lanes))
    logits = np.empty((len(numbers), len(images), dataset.classes), np.float32)
    for activation in zoo.spec.grid.activation:
        run = _program(engine, zoo.spec.architecture, dataset.classes, activation, zoo.spec.precision, mesh)
        places = np.flatnonzero(activation_of == activation)
        for first in range(0, len(places), portion):
            read = places[first : first + portion]
            variables = zoo.variables(epoch, numbers[read].tolist())
            for start in range(0, len(read), width):
                chosen = read[start : start + width]
                rows = start + np.minimum(np.arange(width), len(chosen) - 1)
                placed = jax.tree.map(functools.partial(put_lanes, mesh, rows), variables)
                logits_SBOM = np.asarray(run(placed, batches))
                flat = logits_SBOM.reshape(-1, dataset.classes, width)[: len(images), :, : len(chosen)]
                logits[chosen] = np.moveaxis(flat, -1, 0)
    return logits


def predict_classes(zoo: Zoo, images: np.ndarray, epoch: int, models: Sequence[int] | None = None) -> np.ndarray:
    """The class of the largest logit, (models, N), otherwise as `predict_logits`; 0 where a logit is not a number."""
    return np.nan_to_num(predict_logits(zoo, images, epoch, models), nan=-np.inf).argmax(axis=-1)


@functools.cache
def _program(
    engine: str, architecture: str, classes: int, activation: str, precision: str, mesh: Mesh
) -> jax.stages.Wrapped:
    forward = population_forward(engine, architecture, classes, activation, precision)

    def predict(variables_M: Variables, images_SBHWC: jax.Array) -> jax.Array:
        params_M, batch_stats_M = variables_M["params"], variables_M.get("batch_stats", {})

        def logits(images_BHWC: jax.Array) -> jax.Array:
            return forward(params_M, batch_stats_M, images_BHWC[..., None], None, None, None)[0]

        return lax.map(logits, images_SBHWC)

    return over_models(mesh, "predict", predict, "M-", lambda *_: P(None, None, None, AXIS))


def _batches(images: np.ndarray, at_once: int) -> jax.Array:
    """Images (S, B, H, W, C), the last batch filled up with the last image."""
    steps = -(-len(images) // at_once)
    rows = np.minimum(np.arange(steps * at_once), len(images) - 1)
    return jnp.asarray(images[rows].reshape(steps, at_once, *images.shape[1:]), jnp.float32)
