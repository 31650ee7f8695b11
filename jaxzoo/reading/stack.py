"""A stack of parameters that a caller brings: whose networks they are, and what they say of images."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxzoo.compilation import compilation_cached
from jaxzoo.datasets import Images
from jaxzoo.errors import InputError
from jaxzoo.models.networks import Network, Variables
from jaxzoo.models.stacks import Form, mean_tallies
from jaxzoo.models.variables import network_shapes
from jaxzoo.reading.layout import Layout, build_layout, flatten, layout_width, unflatten
from jaxzoo.reading.selection import Selection
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.imported_spec import AnySpec
from jaxzoo.spec.layers import keeps_statistics
from jaxzoo.spec.plan import Member

Axes = tuple[int, ...]


class Stack(NamedTuple):
    """Variables with leaves (M, ...) on the host, and the form of each of the M networks.

    `axes` is the shape that the caller's stack has in the place of M; `layout` is that of the parameters.
    """

    variables: Variables
    forms: tuple[Form, ...]
    axes: Axes
    layout: Layout

    def by_form(self) -> Iterator[tuple[Form, np.ndarray, Variables]]:
        """Yields (form, rows of the networks that have it, their variables)."""
        for form, rows in rows_by_form(self.forms):
            every = len(rows) == len(self.forms)
            yield form, rows, self.variables if every else jax.tree.map(lambda leaf, at=rows: leaf[at], self.variables)


def rows_by_form(forms: Sequence[Form]) -> Iterator[tuple[Form, np.ndarray]]:
    """Yields (form, rows that have it) of every form."""
    for form in dict.fromkeys(forms):
        yield form, np.flatnonzero([each == form for each in forms])


def forms_of(spec: AnySpec, members: Sequence[Member]) -> dict[int, Form]:
    """The form of each member's network, by the member's number."""
    known: dict[Any, Form] = {}
    forms = {}
    for member in members:
        point = member.hyperparameters
        kind = point["activation"], point.get("architecture")
        if kind not in known:  # thousands of members share few forms
            known[kind] = Form(spec.layers_of(point), spec.classes, point["activation"], spec.precision)
        forms[member.model] = known[kind]
    return forms


def stack_of_members(
    forms: Mapping[int, Form], layout: Layout, given: Any, models: np.ndarray | None, where: str
) -> Stack:
    """The stack of networks of a zoo's members, whose forms are given by their numbers, in ascending order.

    `models` has the numbers of the members whose networks they are, and broadcasts to the stack's axes; None where a
    selection says it, where all members have one form, or where the stack has as many networks as the zoo. Raises
    InputError, which begins with `where`.
    """
    if isinstance(given, Selection) and models is None:
        models = given.table["model"].to_numpy()
    variables, axes = _variables(given, layout, where)
    first, *_ = forms.values()
    _check_statistics(first, variables, where)
    count = math.prod(axes)
    if models is None and len({*forms.values()}) == 1:
        return Stack(variables, (first,) * count, axes, layout)
    if models is None:
        if axes != (len(forms),):
            raise InputError(
                f"{where}: weights are of {axes} networks, and the zoo's models differ in activation, expected models: "
                "the numbers of the models whose networks they are"
            )
        models = np.array([*forms])
    try:
        numbers = np.broadcast_to(models, axes).ravel()
    except ValueError as error:
        raise InputError(f"{where}: models are of shape {models.shape}, expected one that fits {axes}") from error
    return Stack(variables, tuple(forms[number] for number in numbers.tolist()), axes, layout)


def stack_of_network(network: Network, given: Any, images: np.ndarray) -> Stack:
    """The stack of networks of one Flax module, which take these images. Raises InputError."""
    shapes = network_shapes(network.layers, network.classes, images.shape[1:])
    form = Form(network.layers, network.classes, network.activation, network.precision)
    layout = build_layout(shapes["params"])
    variables, axes = _variables(given, layout, "the network")
    _check_statistics(form, variables, "the network")
    return Stack(variables, (form,) * math.prod(axes), axes, layout)


def _variables(given: Any, layout: Layout, where: str) -> tuple[Variables, Axes]:
    """Variables with leaves (M, ...), from a selection, weights (..., D), parameters or variables; and the first axes.

    Arrays may be NumPy's or JAX's.
    """
    statistics = {}
    if isinstance(given, Selection):
        given = given.weights()
    if isinstance(given, Mapping):
        statistics = {name: tree for name, tree in given.items() if name == "batch_stats"}
        given = flatten(layout, given.get("params", given))
    weights = np.asarray(jax.device_get(given))
    if weights.ndim == 0 or weights.shape[-1] != layout_width(layout) or not is_real(weights):
        got = f"{weights.dtype} of shape {weights.shape}"
        raise InputError(f"{where}: weights are {got}, expected numbers of shape (..., {layout_width(layout)})")
    if not weights.size:
        raise InputError(f"{where}: weights are of shape {weights.shape}, expected one network or more")
    axes = weights.shape[:-1]
    rows = weights.reshape(-1, weights.shape[-1]).astype(np.float32, copy=False)

    def join(leaf: Any) -> np.ndarray:
        return np.asarray(leaf, np.float32).reshape(-1, *leaf.shape[len(axes) :])

    return {"params": unflatten(layout, rows), **jax.tree.map(join, jax.device_get(statistics))}, axes


def _check_statistics(form: Form, variables: Variables, where: str) -> None:
    if keeps_statistics(form.layers) and "batch_stats" not in variables:
        raise InputError(f"{where}: weights come without batch_stats, expected variables, as zoo.variables gives them")


def is_real(values: np.ndarray) -> bool:
    """Whether an array holds real numbers, those of JAX's small types included."""
    return bool(jnp.issubdtype(values.dtype, jnp.number)) and not jnp.issubdtype(values.dtype, jnp.complexfloating)


@compilation_cached()
@pinned_settings()
def evaluate_stack(stack: Stack, images: Images, split: str) -> pd.DataFrame:
    """The columns loss (mean cross-entropy in nats) and accuracy, with a row per network. Raises InputError."""
    normalised = images.normalised(split)
    labels = getattr(images, split).labels
    results = np.empty((len(stack.forms), 2))
    for form, rows, variables in stack.by_form():
        results[rows] = np.column_stack(mean_tallies(form, variables, normalised, labels))
    return pd.DataFrame(results, columns=["loss", "accuracy"])


def check_images(images: Any, wanted: tuple[int | None, ...]) -> np.ndarray:
    """Normalised images (N, H, W, C) as an array. Raises InputError for another shape, and for pixels that are bytes.

    Pixels that nobody has normalised would be taken for very bright images, and predictions would be wrong in silence.
    """
    values = np.asarray(jax.device_get(images))
    fits = values.ndim == 4 and all(size in (None, got) for size, got in zip(wanted, values.shape[1:], strict=True))
    if not fits or not len(values):
        sizes = ", ".join("?" if size is None else str(size) for size in wanted)
        raise InputError(f"images are of shape {values.shape}, expected (N, {sizes}), N above 0")
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise InputError(
            f"images are {values.dtype}, expected normalised ones, such as zoo.images().normalised('test')"
        )
    return values


def check_labels(labels: Any, images: np.ndarray, classes: int) -> np.ndarray:
    """The labels (N,) of the images. Raises InputError where they do not fit."""
    values = np.asarray(jax.device_get(labels))
    if values.shape != images.shape[:1] or values.dtype.kind not in "iu":
        raise InputError(f"labels are {values.dtype} of shape {values.shape}, expected whole numbers ({len(images)},)")
    if not 0 <= values.min() <= values.max() < classes:
        raise InputError(f"labels are {values.min()}..{values.max()}, expected 0..{classes - 1}")
    return values


def flattened(stack: Stack, params: Any) -> np.ndarray:
    """Parameters with leaves (M, ...) as rows (M, D) float32."""
    return np.asarray(flatten(stack.layout, params), np.float32)
