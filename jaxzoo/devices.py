"""The devices a population is spread over."""

import os

import jax
import numpy as np
import platformdirs
from jax.sharding import Mesh

from jaxzoo.errors import InputError

AXIS = "models"


def use_all_cores() -> None:
    """Makes every CPU core a JAX device, so that a population trains on all of them. Of no effect on accelerators.

    To be called before JAX is used for the first time; raises InputError after that. The command line calls it itself.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError as error:
        raise InputError("use_all_cores() was called after JAX had been used, expected a call before that") from error


def use_compilation_cache() -> None:
    """Keeps compiled programs on disk, so that the next start of the same zoo does not compile.

    They lie in the user's cache folder, unless JAX was told another (`JAX_COMPILATION_CACHE_DIR`). The command line
    calls it itself.
    """
    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(platformdirs.user_cache_path("jaxzoo") / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def platform_of(mesh: Mesh) -> str:
    """The kind of a mesh's devices: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def model_mesh() -> Mesh:
    """All devices of the default kind, along the model axis."""
    return Mesh(np.array(jax.devices()), (AXIS,))
