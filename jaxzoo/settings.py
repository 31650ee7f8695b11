"""The settings of JAX under which jaxzoo computes, whatever its caller has set.

A zoo's digest promises weights, so no setting of a process may change them. Settings that decide bits, or that make
our calls fail, are pinned while a public call computes; they are pinned for the thread of the call alone, and are as
the caller left them afterwards.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax._src import config as internal
from jax.sharding import Mesh

Given = ParamSpec("Given")
Result = TypeVar("Result")

# the names are those of `jax.config.update`; JAX has a public context manager for each
PINNED: dict[str, Any] = {
    # these decide bits
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_enable_x64": False,
    "jax_default_matmul_precision": None,  # what JAX calls "default"
    "jax_default_device": None,  # initial values are drawn on it
    # these make our calls fail: a member may diverge, and what broadcasts here is meant to
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_numpy_rank_promotion": "allow",
    "jax_numpy_dtype_promotion": "standard",
    "jax_transfer_guard": "allow",
    # these make our calls slow, or compile again what is compiled
    "jax_disable_jit": False,
    "jax_debug_key_reuse": False,
    "jax_check_tracer_leaks": False,
}

# JAX has context managers for these settings, too, but none of them is public
PINNED_INTERNALLY: dict[str, Any] = {
    "jax_random_seed_offset": 0,  # no key of ours depends on it, but every program would be compiled again
    "jax_use_direct_linearize": True,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_memory_fitting_effort": 0.0,
    "jax_optimization_level": "UNKNOWN",
    "jax_memory_fitting_level": "O2",
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
}


class _Pins(threading.local):
    """The pins that a thread has entered and not yet left, the outermost first."""

    def __init__(self) -> None:
        self.entered: list[contextlib.ExitStack] = []


_pins = _Pins()


@contextlib.contextmanager
def pinned_settings() -> Iterator[None]:
    """Pins the settings for this thread, as a context manager or, called, as a decorator.

    A thread that is started inside does not inherit the pins and has to enter them itself.

    >>> with jax.enable_x64(True):
    ...     with pinned_settings():
    ...         inside = jax.config.jax_enable_x64
    ...     (inside, jax.config.jax_enable_x64)
    (False, True)
    """
    _enter()
    try:
        yield
    finally:
        _pins.entered.pop().close()


@contextlib.contextmanager
def callers_settings() -> Iterator[None]:
    """Lifts the pins of this thread for a while: the settings are as the caller has them."""
    levels = len(_pins.entered)
    while _pins.entered:
        _pins.entered.pop().close()
    try:
        yield
    finally:
        for _ in range(levels):
            _enter()


def under_callers_settings(callback: Callable[Given, Result]) -> Callable[Given, Result]:
    """The callback, run under its caller's settings wherever in a pinned call it is called."""

    @functools.wraps(callback)
    def lifted(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with callers_settings():
            return callback(*args, **kwargs)

    return lifted


def recorded_settings() -> dict[str, Any]:
    """The pinned settings that a zoo's bits depend on, as they stand in `zoo.json`."""
    return {
        "prng": PINNED["jax_default_prng_impl"],
        "threefry_partitionable": PINNED["jax_threefry_partitionable"],
        "x64": PINNED["jax_enable_x64"],
        "matmul_precision": PINNED["jax_default_matmul_precision"] or "default",
    }


def _enter() -> None:
    with contextlib.ExitStack() as stack:  # what was entered is left again where a later setting fails
        for name, value in PINNED.items():
            stack.enter_context(getattr(jax, name.removeprefix("jax_"))(value))
        for name, value in PINNED_INTERNALLY.items():
            state = getattr(internal, name.removeprefix("jax_"), None)
            if state is not None:  # an internal name may be another in other versions of JAX
                stack.enter_context(state(value))
        # our programs bring their own mesh, and refuse to run beside another
        stack.enter_context(jax.set_mesh(Mesh(np.empty((), object), ())))
        _pins.entered.append(stack.pop_all())
