"""Compiled programs, kept on disk: the next start of the same zoo does not compile."""

import contextlib
import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import jax
import platformdirs
from jax.experimental.compilation_cache.compilation_cache import reset_cache

CACHE_DIR, CACHE_SECONDS = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"


def use_compilation_cache() -> None:
    """Keeps every program that this process compiles on disk, so that its next start does not compile.

    They are kept in the user's cache folder, unless JAX was given another (`JAX_COMPILATION_CACHE_DIR`). The command
    line calls this function by itself; jaxzoo's own calls keep theirs anyway (see `compilation_cached`).
    """
    folder = _cache_folder()
    if folder is not None:
        _keep_programs(folder)


@contextlib.contextmanager
def compilation_cached() -> Iterator[None]:
    """Keeps the programs that are compiled inside on disk: a context manager or, called, a decorator.

    Where the process has a cache already, or JAX was told to have none (`JAX_ENABLE_COMPILATION_CACHE=false`, or
    `jax.config.update("jax_enable_compilation_cache", False)`), it changes nothing.
    """
    folder = None if jax.config.values[CACHE_DIR] else _cache_folder()
    if folder is None or not jax.config.values["jax_enable_compilation_cache"]:
        yield
        return
    before = {name: jax.config.values[name] for name in (CACHE_DIR, CACHE_SECONDS)}
    try:
        _keep_programs(folder)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        reset_cache()


def _keep_programs(folder: Path) -> None:
    if not jax.config.values[CACHE_DIR]:
        jax.config.update(CACHE_DIR, str(folder))
        reset_cache()  # JAX looks at the setting once, when it first compiles
    jax.config.update(CACHE_SECONDS, 0.5)  # JAX keeps only what took a second or more


def _cache_folder() -> Path | None:
    """The folder of compiled programs, None where the user has no home that can be written."""
    try:
        folder = (platformdirs.user_cache_path("jaxzoo") / "compiled" / _kind_of_cpu()).absolute()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder if os.access(folder, os.W_OK) else None


def _kind_of_cpu() -> str:
    """A name for CPUs that take the same programs: machines of several kinds may share a home."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = [platform.processor()]
    # of one core: its model, and what it can do
    said = [next((line for line in lines if line.startswith(word)), "") for word in ("model name", "flags", "Features")]
    return f"{platform.machine()}-{hashlib.sha256(repr(said if any(said) else lines).encode()).hexdigest()[:12]}"
