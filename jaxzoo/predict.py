"""What the models of a zoo make of images: all of them at once, by the kernels they were trained with."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxzoo.devices import AXIS, model_mesh, over_models, put_lanes, usual_lanes
from jaxzoo.engines import population_logits
from jaxzoo.errors import InputError
from jaxzoo.networks import Params
from jaxzoo.zoo import Zoo

IMAGES_AT_ONCE = 4  # with the lanes of a CPU core their activations stay in its cache


def predict_logits(zoo: Zoo, images: np.ndarray, epoch: int, models: Sequence[int] | None = None) -> np.ndarray:
    """Logits (models, N, classes) float32 on normalised images (N, H, W, C), in evaluation mode.

    Of all models at an epoch, or those given, in that order; on all of JAX's default devices. Raises InputError for
    images of another shape, an epoch or a model that is not there.
    """
    dataset = zoo.spec.dataset
    wanted = (dataset.size, dataset.size, dataset.channels)
    if images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise InputError(f"images are of shape {images.shape}, expected (N, {', '.join(map(str, wanted))})")
    params = zoo.params(epoch, models)
    members = zoo.members if models is None else zoo.members.iloc[list(models)]
    mesh = model_mesh()
    width = mesh.size * usual_lanes(mesh)
    batches = _batches(images)
    logits = np.empty((len(members), len(images), dataset.classes), np.float32)
    for activation in zoo.spec.grid.activation:
        places = np.flatnonzero(members["activation"] == activation)
        run = _program(zoo.spec.architecture, dataset.classes, activation, mesh)
        for first in range(0, len(places), width):
            chosen = places[first : first + width]
            rows = chosen[np.minimum(np.arange(width), len(chosen) - 1)]
            lanes = jax.tree.map(functools.partial(put_lanes, mesh, rows), params)
            logits_SBOM = np.asarray(run(lanes, batches))
            flat = logits_SBOM.reshape(-1, dataset.classes, width)[: len(images), :, : len(chosen)]
            logits[chosen] = np.moveaxis(flat, -1, 0)
    return logits


def predict_classes(zoo: Zoo, images: np.ndarray, epoch: int, models: Sequence[int] | None = None) -> np.ndarray:
    """The class of the largest logit, (models, N), otherwise as `predict_logits`; 0 where a logit is not a number."""
    return np.nan_to_num(predict_logits(zoo, images, epoch, models), nan=-np.inf).argmax(axis=-1)


@functools.cache
def _program(architecture: str, classes: int, activation: str, mesh: Mesh) -> jax.stages.Wrapped:
    logits = population_logits("lanes", architecture, classes, activation)

    def predict(params_M: Params, images_SBHWC: jax.Array) -> jax.Array:
        return lax.map(lambda batch: logits(params_M, batch[..., None], None, None), images_SBHWC)

    return over_models(mesh, "predict", predict, "M-", lambda *_: P(None, None, None, AXIS))


def _batches(images: np.ndarray) -> jax.Array:
    """Images (S, B, H, W, C), the last batch filled up with the last image."""
    steps = -(-len(images) // IMAGES_AT_ONCE)
    rows = np.minimum(np.arange(steps * IMAGES_AT_ONCE), len(images) - 1)
    return jnp.asarray(images[rows].reshape(steps, IMAGES_AT_ONCE, *images.shape[1:]), jnp.float32)
