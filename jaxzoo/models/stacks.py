"""What many networks of one form say of images: logits, losses and gradients, in evaluation mode, all at once.

The kernels that train populations compute them, on all of JAX's devices. Networks go through in slabs of equal width,
whose last lanes the last network fills up; images go through in chunks of equal length, so that few programs serve any
number of either. Arrays on the host have the model axis first.
"""

import enum
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxzoo.devices import AXIS, Spread, model_mesh, over_models, platform_of, put_copies, put_lanes, sharding_specs
from jaxzoo.models.engines import Forward, engines_for, evaluated_at_once, population_forward, usual_lanes
from jaxzoo.models.networks import Variables
from jaxzoo.models.tally import Tally, count_batch, empty_tally
from jaxzoo.spec.layers import Layers

KEPT_PROGRAMS = 24  # a program of each quantity for eight activations; what is compiled for other zoos is let go
CHUNK = 1024  # images
MOST_WITH_GRADIENT = 32  # images at a time, of large networks: their activations wait for the backward pass


class Form(NamedTuple):
    """Everything about a network but its variables."""

    layers: Layers
    classes: int
    activation: str
    precision: str = "float32"


class Quantity(enum.Enum):
    """What is computed: logits (N, O, M), a `Tally`, or a Tally and the gradients of its loss by the parameters."""

    LOGITS = enum.auto()
    TALLY = enum.auto()
    GRADIENTS = enum.auto()


class Chunk(NamedTuple):
    """Images in batches (S, B, H, W, C) with labels (S, B) and weights (S, B), which are 0 where images fill up."""

    images: Any
    labels: Any
    weights: Any


def logits_of(form: Form, variables: Variables, images: np.ndarray) -> np.ndarray:
    """Logits (M, N, classes) float32 of networks with variables (M, ...) on normalised images (N, H, W, C)."""
    logits = np.empty((_models(variables), len(images), form.classes), np.float32)
    labels = np.zeros(len(images), np.int32)
    for rows, first, stop, (values,) in _run(form, Quantity.LOGITS, variables, images, labels):
        flat = values.reshape(-1, form.classes, values.shape[-1])[: stop - first, :, : rows.stop - rows.start]
        logits[rows, first:stop] = np.moveaxis(flat, -1, 0)
    return logits


def mean_tallies(form: Form, variables: Variables, images: np.ndarray, labels: np.ndarray) -> Tally:
    """The mean cross-entropy in nats and the accuracy, (M,) float64 each, over images (N, ...) with labels (N,)."""
    total = Tally(*np.zeros((2, _models(variables))))
    for rows, _, _, sums in _run(form, Quantity.TALLY, variables, images, labels):
        _add(total, rows, sums)
    return Tally(total.loss / len(images), total.correct / len(images))


def loss_and_gradients(
    form: Form, variables: Variables, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, Any]:
    """The mean cross-entropy in nats, (M,), and its gradients by the parameters, leaves (M, ...)."""
    loss = np.zeros(_models(variables))
    gradients = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)), variables["params"])
    for rows, _, _, (sums, *leaves) in _run(form, Quantity.GRADIENTS, variables, images, labels):
        _add((loss, *jax.tree.leaves(gradients)), rows, (sums, *leaves))
    return loss / len(images), jax.tree.map(lambda leaf: leaf / len(images), gradients)


def _models(variables: Variables) -> int:
    return len(jax.tree.leaves(variables)[0])


def _add(totals: Any, rows: slice, sums: Any) -> None:
    for total, lanes in zip(totals, sums, strict=True):
        total[rows] += np.moveaxis(lanes, -1, 0)[: rows.stop - rows.start]


def _run(
    form: Form, quantity: Quantity, variables: Variables, images: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[slice, int, int, list[np.ndarray]]]:
    """Yields (rows of the networks, first image, last image + 1, the leaves of the quantity with the model axis last).

    Sums over images are those of a chunk.
    """
    mesh = model_mesh()
    engine = engines_for(form.layers, form.precision)[0]
    lanes = usual_lanes(form.layers, platform_of(mesh))
    at_once = _images_at_once(engine, lanes, quantity)
    program = _program(form, quantity, engine, mesh)
    models, width = _models(variables), mesh.size * lanes
    chunks = [*_chunks(images, labels, at_once)]
    on_device = [jax.tree.map(functools.partial(put_copies, mesh), chunk) for _, _, chunk in chunks]
    for start in range(0, models, width):
        rows = np.minimum(np.arange(start, start + width), models - 1)
        slab = jax.tree.map(functools.partial(put_lanes, mesh, rows), variables)
        for (first, stop, _), chunk in zip(chunks, on_device, strict=True):
            leaves = jax.device_get(jax.tree.leaves(program(slab, chunk)))
            yield slice(start, min(start + width, models)), first, stop, leaves


def _images_at_once(engine: str, lanes: int, quantity: Quantity) -> int:
    at_once = evaluated_at_once(engine, lanes)
    return min(at_once, MOST_WITH_GRADIENT) if quantity is Quantity.GRADIENTS else at_once


def _chunks(images: np.ndarray, labels: np.ndarray, at_once: int) -> Iterator[tuple[int, int, Chunk]]:
    """The images in chunks of one length, a power of two of batches; copies of the last image fill up the last one."""
    steps = 1
    while steps * at_once < min(len(images), CHUNK):
        steps *= 2
    length = steps * at_once
    for first in range(0, len(images), length):
        rows = np.arange(first, first + length)
        held = np.minimum(rows, len(images) - 1)
        shape = (steps, at_once)
        yield (
            first,
            min(first + length, len(images)),
            Chunk(
                np.asarray(images[held], np.float32).reshape(*shape, *images.shape[1:]),
                np.asarray(labels[held], np.int32).reshape(shape),
                (rows < len(images)).astype(np.float32).reshape(shape),
            ),
        )


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _program(form: Form, quantity: Quantity, engine: str, mesh: Mesh) -> jax.stages.Wrapped:
    platform = platform_of(mesh)
    forward = population_forward(engine, form.layers, form.classes, form.activation, form.precision, platform)
    compute = {Quantity.LOGITS: _logits, Quantity.TALLY: _tally, Quantity.GRADIENTS: _gradients}[quantity]

    def specs(variables_M: Variables, _: Chunk) -> Any:
        if quantity is Quantity.LOGITS:
            return P(None, None, None, AXIS)
        return P(AXIS) if quantity is Quantity.TALLY else (P(AXIS), sharding_specs(variables_M["params"]))

    return over_models(
        mesh, quantity.name.lower(), functools.partial(compute, forward), (Spread.MODELS, Spread.COPIES), specs
    )


def _forward(forward: Forward, params_M: Any, variables_M: Variables, images_BHWC: jax.Array) -> jax.Array:
    """Logits (B, O, M) of images that all networks share."""
    return forward(params_M, variables_M.get("batch_stats", {}), images_BHWC[..., None], None, None, None)[0]


def _logits(forward: Forward, variables_M: Variables, chunk: Chunk) -> jax.Array:
    return lax.map(functools.partial(_forward, forward, variables_M["params"], variables_M), chunk.images)


def _tally(forward: Forward, variables_M: Variables, chunk: Chunk) -> Tally:
    def add(total: Tally, batch: Chunk) -> tuple[Tally, None]:
        logits = _forward(forward, variables_M["params"], variables_M, batch.images)
        return jax.tree.map(jnp.add, total, count_batch(logits, batch.labels[:, None], batch.weights)), None

    return lax.scan(add, empty_tally(_one_per_model(variables_M)), chunk)[0]


def _gradients(forward: Forward, variables_M: Variables, chunk: Chunk) -> tuple[jax.Array, Any]:
    """The loss (M,) and its gradients (..., M), summed over the chunk."""

    def loss(params_M: Any, batch: Chunk) -> tuple[jax.Array, jax.Array]:
        logits = _forward(forward, params_M, variables_M, batch.images)
        loss_M = count_batch(logits, batch.labels[:, None], batch.weights).loss
        return jnp.sum(loss_M), jnp.asarray(loss_M)  # no model's loss depends on another's parameters

    def add(total: tuple[jax.Array, Any], batch: Chunk) -> tuple[tuple[jax.Array, Any], None]:
        gradients, loss_M = jax.grad(loss, has_aux=True)(variables_M["params"], batch)
        return jax.tree.map(jnp.add, total, (loss_M, gradients)), None

    nothing = (jnp.zeros_like(_one_per_model(variables_M)), jax.tree.map(jnp.zeros_like, variables_M["params"]))
    return lax.scan(add, nothing, chunk)[0]


def _one_per_model(variables_M: Variables) -> jax.Array:
    leaf = jax.tree.leaves(variables_M)[0]
    return leaf[(0,) * (leaf.ndim - 1)]
