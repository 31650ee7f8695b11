"""Zoos made on a Ray cluster: every cohort is a task, and Ray chooses the node that runs it.

The nodes share the zoo's folder. A task is an ordinary call of `generate` for one cohort, so a task that Ray runs again
goes on where it was lost.
"""

import contextlib
import functools
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxzoo.clusters.watch import Watch
from jaxzoo.datasets import load_images
from jaxzoo.devices import model_mesh
from jaxzoo.errors import InputError, first_line, shown
from jaxzoo.paths import lasting_path
from jaxzoo.reading.zoo import Zoo, opened
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.files import reason
from jaxzoo.training.checks import check_generate
from jaxzoo.training.events import Event, Interrupted, Notice
from jaxzoo.training.zoo import generate, run_begin

ACCELERATORS = ("GPU", "TPU")
RETRIES = 10  # of a task whose process or node was lost
LOOK = 1.0  # seconds between two looks at the folder
GRACE = 30.0  # seconds that tasks have to save what they are saving
REACHED = 10.0  # seconds that an address has to answer


class Call(NamedTuple):
    """A call of `generate`, as a task makes it. Relative paths mean what they mean in the folder `at`.

    `cores` are the CPU devices of a task; None for a task with an accelerator.
    """

    spec: ZooSpec
    out: Path
    data_dir: str | Path | None
    options: Mapping[str, Any]
    at: str
    cores: int | None


def generate_on_ray(
    spec: ZooSpec,
    out: str | Path,
    *,
    address: str | None = None,
    per_task: Mapping[str, float] | None = None,
    data_dir: str | Path | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Zoo:
    """Trains a zoo as `generate` does, every cohort as a task of a Ray cluster, and opens it.

    All nodes see the folder `out`, and each reads the images from its own `data_dir`. A task whose node is lost is run
    by another one, and goes on with the cohort.

    Args:
        spec: the zoo.
        out: the folder of the zoo.
        address: the cluster's, as for `ray.init`; by default the one that Ray knows of, else it starts one here.
        per_task: what a task takes, such as {"GPU": 1} or {"CPU": 4}, by Ray's names; by default a GPU or a TPU chip
            where the cluster has any, else a core.
        data_dir: the folder of the images, on every node (see `load_images`).
        on_event: hears of progress, as far as it shows in the folder: `Trained`, `EpochSaved`, `Notice`.
        should_stop: is asked once a second whether to stop.
        **options: the others of `generate`, but for `devices` and `share`.

    Raises InputError, and Interrupted after `should_stop()`. The same call goes on.

    """
    if options.get("share"):
        raise InputError("share is true, expected false: Ray says who makes which cohort")
    check = functools.partial(check_generate, spec, out, **options)
    job = check()  # before Ray is asked for anything
    if job.target is not None:
        raise InputError(f"{job.target}: Ray is asked for, expected a folder that all nodes see, without a stage")
    with connected(address) as ray:
        needs = _usual_needs(ray) if per_task is None else dict(per_task)
        cores = None if any(needs.get(name) for name in ACCELERATORS) else max(1, int(needs.get("CPU", 1)))
        folder = None if data_dir is None else lasting_path(data_dir)
        call = Call(spec, lasting_path(out), folder, options, os.getcwd(), cores)
        for text in _results(ray, [_task(ray, _begin, needs, "begin").remote(call)], call.out, should_stop):
            on_event(Notice(text))
        job = check()
        watch = Watch(job, on_event)
        task = _task(ray, _make, needs, "cohort")
        tasks = [task.remote(call, cohort.number) for cohort in job.chosen if job.repair or not watch.finished(cohort)]
        for text in _results(ray, tasks, call.out, should_stop, watch.look):
            on_event(Notice(text))
        watch.look()
    return opened(job.folder, job.plan.spec.network)


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """Gives Ray, connected to a cluster, and lets go of that at the end. A process that is connected stays so.

    Raises InputError where Ray is not installed, and where the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed, expected the extra 'ray': pip install 'jaxzoo[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ImportError, OSError, RuntimeError, ValueError) as error:  # ray:// needs the extra 'client' of Ray
        raise InputError(f"{_named(address)}: cannot be reached ({first_line(error)})") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Raises InputError where nobody answers at HOST:PORT: Ray would end the process, after minutes."""
    asked = os.environ.get("RAY_ADDRESS") if address is None else address
    host, _, port = (asked or "").rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED).close()
    except (OSError, OverflowError) as error:
        why = reason(error) if isinstance(error, OSError) else first_line(error)
        raise InputError(f"{_named(asked)}: does not answer ({why}), expected a Ray cluster") from error


def _named(address: str | None) -> str:
    return "Ray" if address is None else f"Ray at {address}"


def _usual_needs(ray: Any) -> dict[str, float]:
    here = ray.cluster_resources()
    return next(({name: 1.0} for name in ACCELERATORS if here.get(name)), {"CPU": 1.0})


def _task(ray: Any, function: Callable[..., list[str]], needs: Mapping[str, float], name: str) -> Any:
    """The function as a task that takes so much of a node."""
    others = {resource: amount for resource, amount in needs.items() if resource not in ("CPU", "GPU")}
    how: dict[str, Any] = {"max_retries": RETRIES, "name": f"jaxzoo {name}"}
    if any(needs.get(accelerator) for accelerator in ACCELERATORS):
        how["max_calls"] = 1  # the process of the next task may have another device
    try:
        return ray.remote(function).options(
            num_cpus=needs.get("CPU", 1.0), num_gpus=needs.get("GPU", 0.0), resources=others, **how
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"per_task is {shown(dict(needs))}: {first_line(error)}") from error


def _results(
    ray: Any,
    tasks: Sequence[Any],
    folder: Path,
    should_stop: Callable[[], bool],
    look: Callable[[], None] = lambda: None,
) -> Iterator[str]:
    """What the tasks have to say, each when it is done. Where one fails, or is to stop, the others are stopped, too."""
    waiting = list(tasks)
    try:
        while waiting:
            done, waiting = ray.wait(waiting, timeout=LOOK)
            look()
            for task in done:
                yield from _result(ray, task, folder)
            if waiting and should_stop():
                raise Interrupted(f"{folder}: stopped with {len(waiting)} tasks to go")
    finally:
        for task in waiting:
            ray.cancel(task)  # as Ctrl-C would
        if waiting:
            ray.wait(waiting, num_returns=len(waiting), timeout=GRACE)


def _result(ray: Any, task: Any, folder: Path) -> list[str]:
    try:
        said: list[str] = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        why = f"a task was lost {RETRIES + 1} times ({first_line(error)})"
        raise InputError(f"{folder}: {why}; every epoch before it is whole, and the same call goes on") from error
    return said


def _begin(call: Call) -> list[str]:
    """A task: begins the zoo, or has it grow. Returns what a person should know."""
    said: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Notice):
            said.append(event.text)

    with _at_home(call):
        job = check_generate(call.spec, call.out, **call.options)
        mesh = model_mesh()
        images = {
            dataset: load_images(dataset, call.data_dir, on_note=said.append) for dataset in job.plan.spec.every_dataset
        }
        run_begin(job, images, mesh, on_event=note)
    return said


def _make(call: Call, number: int) -> list[str]:
    """A task: makes a cohort, or goes on with it. Returns what a person should know."""
    said: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Notice):
            said.append(event.text)

    with _at_home(call):
        options = {**call.options, "cohorts": range(number, number + 1)}
        generate(call.spec, call.out, data_dir=call.data_dir, on_event=note, **options)
    return said


@contextlib.contextmanager
def _at_home(call: Call) -> Iterator[None]:
    """In a process of Ray's, which may run several tasks one after the other: the caller's folder, and its devices."""
    if call.cores is not None:
        with contextlib.suppress(RuntimeError):  # an earlier task has begun to use JAX
            jax.config.update("jax_platforms", "cpu")
            jax.config.update("jax_num_cpu_devices", call.cores)
    with contextlib.chdir(call.at) if os.path.isdir(call.at) else contextlib.nullcontext():
        yield
