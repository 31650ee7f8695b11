"""The memory that training needs on a device, read off the program, which is compiled ahead of time and not run."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxzoo.devices import platform_of
from jaxzoo.errors import InputError
from jaxzoo.spec.factors import RELABELLING
from jaxzoo.spec.grid import NUMBERS
from jaxzoo.spec.plan import CohortKey, steps_of
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training.hyperparameters import limits_examples
from jaxzoo.training.programs import (
    Program,
    abstract_arguments,
    build_program,
    images_at_once,
    state_shapes,
    values_of_image,
)
from jaxzoo.training.sparsify import Method, build_method

IMAGES = 3  # the position of the images among the arguments of `train`
FLOAT_BYTES = 4
# of an image: its index in an order, its label as a model sees it, whether it has the patch, whether it is seen at all
ORDER_BYTES, LABEL_BYTES, TRIGGER_BYTES, KEPT_BYTES = 4, 4, 1, 1
PLENTY = 0.5  # of the memory: temporaries differ between activations, but not by so much
# twice as many times what is counted by hand as a program needed: 1 to 19 times, of the networks that are built in and
# of their twins on a CPU
SURELY = 40


class Needs(NamedTuple):
    """Bytes on a device: of the slab that trains, with images and temporaries, and of each slab that waits its turn."""

    training: int
    waiting: int


class Kind(NamedTuple):
    """What a program is built from (see `build_program`): members of one kind, and how they are computed."""

    key: CohortKey
    engine: str
    lanes: int
    mesh: Mesh
    twin: TwinSpec | None = None


def compile_training(program: Program) -> tuple[Any, Needs]:
    """`program.train`, compiled, and the memory it needs. The devices that it is compiled for need not exist.

    Raises InputError where a compiler finds by itself that a device has too little memory.
    """
    arguments = abstract_arguments(program)
    try:
        compiled: Any = program.train.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        got = f"lanes is {program.lanes}: training needs more memory than the device has, as its compiler says"
        raise InputError(f"{got}; expected fewer, or a smaller batch_size") from error
    sizes = compiled.memory_analysis()
    images = tree_bytes(arguments[IMAGES])
    if platform_of(program.mesh) == "cpu":  # the devices of a CPU share one copy
        images -= images // program.mesh.size
    else:
        images = 0
    waiting = _waiting(program.key, program.method, program.lanes)
    return compiled, Needs(sizes.temp_size_in_bytes + sizes.argument_size_in_bytes - images, waiting)


def waiting_bytes(kind: Kind) -> int:
    """Bytes on a device of a slab of that kind that waits its turn, known without compiling."""
    return slab_bytes(kind.key, kind.lanes, kind.twin)


def slab_bytes(key: CohortKey, lanes: int, twin: TwinSpec | None = None) -> int:
    """Bytes on a device of so many models of a kind, or of their twins: state, optimizer and hyperparameters."""
    return _waiting(key, None if twin is None else build_method(twin, key.layers), lanes)


def most_demanding(kinds: Iterable[Kind]) -> Kind:
    """The kind whose models take the most memory: an optimizer with two moments takes more than one with one."""
    return max(kinds, key=waiting_bytes)


def compile_to_fit(program: Program) -> tuple[Any, Needs]:
    """As `compile_training`. Raises InputError where the devices have too little memory for one slab."""
    compiled, needs = compile_training(program)
    limit = device_memory(program.mesh, needs.training)
    if needs.training > limit:
        raise InputError(
            f"lanes is {program.lanes}: training needs {needs.training / 1e9:,.1f} GB, "
            f"expected at most the {limit / 1e9:,.1f} GB of this device"
        )
    return compiled, needs


def models_that_fit(kinds: Sequence[Kind], wanted: int, *, with_orders: bool = False) -> int:
    """The most models that a cohort of any of these kinds can have: all models of a cohort stay on the devices.

    `with_orders` says that slabs that wait their turn may be in the middle of an epoch, and keep its order of images.

    Compiling takes seconds a kind. Nothing is compiled where the `wanted` models fit in many times over, and they are
    the answer; and only the most demanding kind where the devices have plenty of room. Raises InputError where not one
    slab fits.
    """
    if all(_surely_holds(kind, wanted, with_orders=with_orders) for kind in kinds):
        return wanted
    hardest = most_demanding(kinds)
    _, needs = compile_to_fit(build_program(*hardest))
    limit = device_memory(hardest.mesh, needs.training)
    each = [needs]
    if needs.training > PLENTY * limit:
        each += [compile_to_fit(build_program(*kind))[1] for kind in kinds if kind != hardest]
    order = hardest.lanes * max(order_bytes(kind.key) for kind in kinds) if with_orders else 0
    return hardest.lanes * hardest.mesh.size * min(1 + (limit - one.training) // (one.waiting + order) for one in each)


def _surely_holds(kind: Kind, wanted: int, *, with_orders: bool) -> bool:
    """Whether the devices hold so many models of a kind even if its program needs many times what is counted here."""
    program, order = build_program(*kind), kind.lanes * order_bytes(kind.key)
    waiting = waiting_bytes(kind)
    activations = FLOAT_BYTES * kind.lanes * images_at_once(*kind[:4]) * values_of_image(kind.key)
    images = tree_bytes(abstract_arguments(program)[IMAGES])
    others = -(-wanted // program.width) * (waiting + order * with_orders)
    return images + SURELY * (activations + order + waiting) + others <= device_memory(kind.mesh, 0)


def order_bytes(key: CohortKey) -> int:
    """Bytes of one model's order of the images in an epoch."""
    return (ORDER_BYTES + _view_bytes(key)) * steps_of(key) * key.batch_size


def _view_bytes(key: CohortKey) -> int:
    """Bytes that say of one image how one model sees it: its label, and whether it has the patch."""
    relabelled = any(name in key.factors for name in RELABELLING)
    return LABEL_BYTES * relabelled + TRIGGER_BYTES * ("trigger" in key.factors)


def device_memory(mesh: Mesh, unknown: int) -> int:
    """Bytes of each device, where a device does not tell `unknown`. The devices of a CPU share its memory."""
    if platform_of(mesh) == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // mesh.size
    return (mesh.devices.flat[0].memory_stats() or {}).get("bytes_limit", unknown)


def tree_bytes(tree: Any) -> int:
    """The bytes of all arrays of a tree, or of their placeholders."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _waiting(key: CohortKey, method: Method | None, lanes: int) -> int:
    state = state_shapes(key, method, lanes)
    values = 1 + len(NUMBERS) + len(key.factors)  # of a model: the seed, and each hyperparameter
    seen = (KEPT_BYTES * limits_examples(key) + _view_bytes(key)) * key.dataset.train
    return tree_bytes(state) + lanes * (FLOAT_BYTES * values + seen)
