"""The devices that a population is spread over. On them, the model axis is the last axis of every array."""

import enum
import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.backend import clear_backends
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxzoo.errors import InputError, first_line, require

AXIS = "models"
ALIGNMENT = 64  # bytes
TILE = (8, 128)  # the shape of a TPU's register; no kernel cuts one where models are folded to such tiles
# of an operation of a TPU that computes several sums at once, results included; XLA's default is less, and of 400 the
# sums of a kernel with 200 terms were merged that do not fit the registers, at five times the cycles
FUSED_OPERANDS = 128

# JAX's defaults, said again: `jax_disable_most_optimizations` would replace them for a whole process, and other bits
# come out of a program that is optimised less
COMPILER_OPTIONS = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
# what one kind of device needs beside them
DEVICE_OPTIONS: Mapping[str, dict[str, int | bool]] = {
    # XLA prefers 256-bit vectors even where the CPU has 512-bit ones: half the rate
    "cpu": {"xla_cpu_prefer_vector_width": 512},
    # else the gradients of convolutions are summed in any order, and vmap gives other bits from run to run
    "gpu": {"xla_gpu_deterministic_ops": True},
    # sums that read the same slices become one operation: half of a convolution's estimated cycles, see lanes.tiled
    "tpu": {"xla_tpu_multioutput_fusion_max_operands": FUSED_OPERANDS},
}


# JAX's threads are missing in a process that was forked after they began, and its calls would hang there
_forks = {"used": False, "forked": False}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forks.update(forked=_forks["used"]))


def cores_here() -> int:
    """The cores that this process may use, where the system tells: they may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_all_cores() -> None:
    """Makes every CPU core a JAX device, so that a population trains on all of them. Has no effect on accelerators.

    Call it before anything else uses JAX; the command line does so by itself. Where JAX has been used, but holds no
    array any more, JAX is started anew, and devices and compiled functions from before are of no use. Where it holds
    arrays, it warns in one line, and training takes the devices that are there.
    """
    cores = cores_here()
    try:
        jax.config.update("jax_num_cpu_devices", cores)
        return
    except RuntimeError:  # JAX has been used
        devices = default_devices()
    if devices[0].platform != "cpu" or len(devices) >= cores:
        return
    if jax.live_arrays():
        held = f"{len(jax.live_arrays())} arrays of JAX are in use, so training takes {len(devices)} of {cores} cores"
        warnings.warn(f"use_all_cores(): {held}; expected a call before JAX is used", stacklevel=2)
        return
    clear_backends()
    jax.config.update("jax_num_cpu_devices", cores)


def default_devices() -> list[jax.Device]:
    """All of JAX's devices of the default kind that are this process's own, where JAX runs several as one cluster.

    Raises InputError where there are none of the kind that was asked for, and in a process that was forked after JAX
    had been used here.
    """
    if _forks["forked"]:
        raise InputError("JAX cannot be used in a process that was forked after it had been used, expected spawn")
    try:
        devices = jax.local_devices()
    except Exception as error:  # JAX raises errors of several classes here, AssertionError among them
        asked, why = os.environ.get("JAX_PLATFORMS", ""), first_line(error)
        raise InputError(
            f"JAX finds no device (JAX_PLATFORMS is {asked!r}: {why}), expected one that is here, such as cpu"
        ) from error
    _forks["used"] = True
    return devices


def platform_of(mesh: Mesh) -> str:
    """The kind of a mesh's devices: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def model_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The devices, by default all of JAX's default kind, along the model axis.

    Raises InputError for none, for a mix, and for devices of another process: a training step has no collective.
    """
    chosen = default_devices() if devices is None else list(devices)
    kinds = sorted({device.platform for device in chosen})
    if len(kinds) != 1:
        raise InputError(f"devices are {' and '.join(kinds) or 'none'}, expected one device or more, of one kind")
    others = {device.process_index for device in chosen} - {jax.process_index()}
    if others:
        raise InputError(f"devices are of process {min(others)}, expected those of process {jax.process_index()}")
    return Mesh(np.array(chosen), (AXIS,))


def some_devices(asked: int | Sequence[int] | None) -> list[jax.Device]:
    """Those of JAX's default devices that are asked for: so many of them, those of these indices, or all for None.

    Raises InputError for more than there are, and for an index that is not there or is there twice.
    """
    devices = default_devices()
    here = f"{devices[0].platform} device{'s' if len(devices) > 1 else ''}"
    if asked is None:
        return devices
    if isinstance(asked, int):
        require(1 <= asked <= len(devices), "devices", asked, f"1 to {len(devices)}: here are {len(devices)} {here}")
        return devices[:asked]
    for index in asked:
        require(0 <= index < len(devices), "devices", index, f"indices of 0 to {len(devices) - 1}, of the {here} here")
        require(list(asked).count(index) == 1, "devices", list(asked), "each index once")
    return [devices[index] for index in asked]


class Spread(enum.Enum):
    """How an argument of a compiled function lies on the devices: each its own models, or each a copy of it all."""

    MODELS = enum.auto()
    COPIES = enum.auto()


def over_models(
    mesh: Mesh,
    name: str,
    function: Callable[..., Any],
    spread: Sequence[Spread],
    out_specs: Callable[..., Any],
    donate: tuple[int, ...] = (),
) -> jax.stages.Wrapped:
    """The function, compiled so that every device computes its own models.

    `spread` says how each argument lies on the devices; `out_specs(*arguments)` gives the partition of the result;
    `donate` has the positions of the arguments whose memory the result may take.
    """

    def sharded(*args: Any) -> Any:
        specs = tuple(
            sharding_specs(arg) if how is Spread.MODELS else P() for how, arg in zip(spread, args, strict=True)
        )
        # unchecked: members never meet, and the check would ask every loop in the kernels to name the mesh axis
        mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out_specs(*args), check_vma=False)
        # the model axis is last so that (M,) broadcasts against (..., M), as our kernels and Optax do all over; and
        # Optax's Adam raises a float to an integer step
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return mapped(*args)

    sharded.__name__ = name  # what profiles and compilation logs call it
    return jax.jit(sharded, donate_argnums=donate, compiler_options=COMPILER_OPTIONS | _device_options(mesh))


@functools.cache
def _device_options(mesh: Mesh) -> dict[str, int | bool]:
    """Those of `DEVICE_OPTIONS` that the compiler for these devices knows."""
    options = DEVICE_OPTIONS.get(platform_of(mesh), {})
    # a TPU's compiler comes apart from JAX, and has other options from version to version
    if platform_of(mesh) == "tpu":
        scalar = jax.ShapeDtypeStruct((), np.float32, sharding=NamedSharding(mesh, P()))
        try:
            jax.jit(lambda value: -value, compiler_options=options).lower(scalar).compile()
        except jax.errors.JaxRuntimeError:
            return {}
    return options


def sharding_specs(tree: Any) -> Any:
    """The sharding of a tree: the last axis of every array is split over the devices, scalars are on all of them."""
    return jax.tree.map(lambda leaf: P(*[None] * (leaf.ndim - 1), AXIS) if leaf.ndim else P(), tree)


def put_copies(mesh: Mesh, array: np.ndarray) -> jax.Array:
    """Puts a whole array on every device of the mesh. The devices of a CPU share one copy of it."""
    everywhere = NamedSharding(mesh, P())
    if platform_of(mesh) != "cpu":
        return jax.device_put(array, everywhere)
    shared = _aligned(array)
    copies = [jax.device_put(shared, device, may_alias=True) for device in mesh.devices.flat]
    return jax.make_array_from_single_device_arrays(array.shape, everywhere, copies)


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that nobody writes and that begins at a multiple of 64 bytes: a CPU device takes it without copying."""
    memory = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    copy = memory[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    copy.flags.writeable = False
    return copy


def put_lanes(mesh: Mesh, rows: np.ndarray, leaf: np.ndarray) -> jax.Array:
    """Puts rows of a leaf (models, ...) on the mesh as lanes (..., M), split over the devices; scalars stay scalars."""
    lanes = np.ascontiguousarray(np.moveaxis(np.asarray(leaf)[rows], 0, -1)) if np.ndim(leaf) else np.asarray(leaf)
    return jax.device_put(lanes, NamedSharding(mesh, sharding_specs(lanes)))
