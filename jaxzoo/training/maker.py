"""What a zoo is made with: versions, the device, and the settings of JAX that decide bits."""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from jaxzoo.devices import platform_of
from jaxzoo.settings import recorded_settings
from jaxzoo.storage.record import Maker
from jaxzoo.version import __version__

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def maker_of(mesh: Mesh) -> Maker:
    """What zoo.json says of the making."""
    versions = {"jaxzoo": __version__} | {name: importlib.metadata.version(name) for name in PACKAGES}
    return Maker(versions=versions, platform=platform_of(mesh), device=_device(mesh), settings=recorded_settings())


def made_with(mesh: Mesh) -> Mapping[str, Any]:
    """What may change the last bits of a weight beside the kernels, which every snapshot says of itself."""
    return {
        "platform": platform_of(mesh),
        "device": _device(mesh),
        "jaxlib": importlib.metadata.version("jaxlib"),
        "prng": recorded_settings()["prng"],
    }


def _device(mesh: Mesh) -> str:
    """The kind of device, of a CPU its model: one kind of device gives the same bits."""
    return cpu_model() if platform_of(mesh) == "cpu" else str(mesh.devices.flat[0].device_kind)


def cpu_model() -> str:
    """What the processor of this machine calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
