"""A Flax Linen module of the caller's as the network of a zoo: how it is described, called, drawn and recognised."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxzoo.devices import COMPILER_OPTIONS
from jaxzoo.errors import InputError, first_line, shown
from jaxzoo.models.module_settings import settings_of
from jaxzoo.models.networks import Array, DropoutSource, Params, Variables
from jaxzoo.models.trees import each_leaf
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.module import FlaxModule

PROBED = 4  # images of the fixed batch
# of the largest logit: devices sum in another order, which float32 shows in its seventh digit, and other activation
# functions in the first ones
TOLERANCE = 1e-4

Logits = tuple[tuple[float, ...], ...]
Shape = tuple[int, ...]


def describe_module(module: Any, image: Shape, classes: int) -> FlaxModule:
    """The description of a module as the network of images (H, W, C). Nothing is computed: shapes are traced.

    Raises InputError for what is no Flax Linen module, or none that a population can be trained of: in float32, with
    the collections "params" and "batch_stats" alone, and logits (B, classes).
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"network is {shown(module)}, expected a Flax Linen module, such as MyModule()", ("network",))
    name = type(module).__name__
    settings = settings_of(module)
    two = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    in_order: list[tuple[str, ...]] = []

    def draw(key: jax.Array, images: jax.Array) -> Variables:
        variables = draw_variables(module, key, images)
        in_order.extend(path for path, _ in each_leaf(variables))  # traced values lose the order in which they are made
        return variables

    with pinned_settings(), _named_errors(name):
        variables = jax.eval_shape(draw, key, two)
    leaves = dict(each_leaf(variables))
    _check_types(name, leaves)
    shapes = tuple((path, leaves[path].shape) for path in in_order)
    try:
        network = FlaxModule(name=name, settings=settings, shapes=shapes, module=module)
    except InputError as error:
        raise InputError(f"network {name}: {error}", ("network",)) from error
    for train in (False, True):
        with pinned_settings(), _named_errors(name):
            logits = jax.eval_shape(_caller(network, train=train), variables, two, key)
        if logits.shape != (2, classes):
            got = f"gives {logits.shape} of 2 images"
            raise InputError(f"network {name} {got}, expected (2, {classes}): an output for each class", ("network",))
    return network


def draw_variables(module: Any, key: jax.Array, images: Array) -> Variables:
    """The variables that a module begins with, in evaluation mode; all its random streams have the one key."""
    variables = module.init({"params": key}, images, **_keywords(module, train=False))
    return _plain(variables)


def apply_module(
    network: FlaxModule, variables: Variables, images: jax.Array, key: jax.Array | None, *, train: bool
) -> tuple[jax.Array, Params]:
    """Logits (B, classes) float32, and the batch statistics after the batch, {} of a module without.

    The key is that of the stream "dropout", for training. Raises InputError where the module is not at hand.
    """
    if network.module is None:
        raise module_missing(network)
    moving = ["batch_stats"] if train and network.keeps_statistics else False
    rngs = {"dropout": key} if train and key is not None else {}
    given = variables if network.keeps_statistics else {"params": variables["params"]}
    # by default a TPU multiplies float32 in bfloat16, and a GPU in 19 bits; a layer that says its own precision has it
    with jax.default_matmul_precision("highest"):
        result = network.module.apply(
            given, images, rngs=rngs, mutable=moving, **_keywords(network.module, train=train)
        )
    logits, moved = result if moving else (result, {})
    statistics = _plain(moved)["batch_stats"] if moving else variables.get("batch_stats", {})
    # tests compute in float64
    return logits if logits.dtype == jnp.float64 else logits.astype(jnp.float32), statistics


def module_missing(network: FlaxModule) -> InputError:
    """The error of what needs the code of a module that nobody has given."""
    wanted = f"network=, the module {network.name} that the zoo was begun with, in a call from Python"
    return InputError(f"network is missing, expected {wanted}", ("network",))


def one_network(
    network: FlaxModule,
) -> Callable[..., tuple[jax.Array, Params]]:
    """The forward pass of one model as `jaxzoo.models.engines` maps it over models. `counted_B` says that it trains."""

    def forward(
        params: Params,
        batch_stats: Params,
        images_BHWC: jax.Array,
        dropout: DropoutSource | None,
        sampling: None,
        counted_B: jax.Array | None,
    ) -> tuple[jax.Array, Params]:
        variables = {"params": params, "batch_stats": batch_stats}
        key = None if dropout is None else dropout.key
        return apply_module(network, variables, images_BHWC, key, train=counted_B is not None)

    return forward


def fixed_logits(network: FlaxModule, image: Shape) -> Logits:
    """Logits of a fixed batch, by variables that the module draws from a fixed key: what tells it from another one."""
    # of NumPy's generators the one whose numbers never change
    images = np.random.RandomState(0).standard_normal((PROBED, *image)).astype(np.float32)

    def logits(key: jax.Array, images: jax.Array) -> jax.Array:
        return apply_module(network, draw_variables(network.module, key, images[:1]), images, None, train=False)[0]

    with pinned_settings():
        values = np.asarray(jax.jit(logits, compiler_options=COMPILER_OPTIONS)(jax.random.key(0), images))
    if not np.isfinite(values).all():
        got = "gives logits that are not finite before it is trained"
        raise InputError(f"network {network.name} {got}, expected finite ones", ("network",))
    return tuple(map(tuple, values.tolist()))


def same_logits(kept: Logits, got: Logits) -> bool:
    """Whether they are the logits of one module, to rounding."""
    first, second = np.array(kept), np.array(got)
    if first.shape != second.shape:
        return False
    return bool(np.abs(first - second).max() <= TOLERANCE * np.abs(first).max())


def _caller(network: FlaxModule, *, train: bool) -> Callable[..., jax.Array]:
    def call(variables: Variables, images: jax.Array, key: jax.Array) -> jax.Array:
        return apply_module(network, variables, images, key, train=train)[0]

    return call


def _keywords(module: Any, *, train: bool) -> dict[str, bool]:
    """`train` and `deterministic`, which is its contrary: those of them that the module's call names."""
    names = inspect.signature(type(module).__call__).parameters
    return {name: value for name, value in {"train": train, "deterministic": not train}.items() if name in names}


def _plain(tree: Any) -> Any:
    """Nested dictionaries, in their order, of leaves without what Flax may box them in."""
    if isinstance(tree, Mapping):
        return {name: _plain(inner) for name, inner in tree.items()}
    return nn.meta.unbox(tree)


def _check_types(name: str, leaves: Mapping[tuple[str, ...], Any]) -> None:
    for path, leaf in leaves.items():
        if getattr(leaf, "dtype", None) != jnp.float32:
            got = f"{'/'.join(path)} is {getattr(leaf, 'dtype', type(leaf).__name__)}"
            raise InputError(f"network {name}: {got}, expected variables in float32", ("network",))


class _named_errors:  # noqa: N801 - a context manager, called like a function
    """Turns what a module raises while it is traced into one line that names the module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        """Nothing is needed."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, InputError):
            raise InputError(
                f"network {self.name}: {type(error).__name__}: {first_line(error)}; expected a module that is called "
                "with images (B, H, W, C), and has one random stream in training, dropout",
                ("network",),
            ) from error
