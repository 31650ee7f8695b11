"""Measures the rates of all contenders on this machine: each in a process of its own, in turn, round after round."""

import contextlib
import functools
import importlib.util
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.bench import contenders
from jaxzoo.errors import InputError, nearest, require
from jaxzoo.models.engines import engines_for
from jaxzoo.spec.arithmetic import training_flops
from jaxzoo.spec.config import load_spec
from jaxzoo.spec.layers import norm_layers
from jaxzoo.spec.plan import Cohort, plan_zoo
from jaxzoo.spec.twin_spec import METHODS, TwinSpec

Builders = Mapping[str, Callable[[], contenders.Contender]]

REFERENCE = "PyTorch, a model per core"
STACKED = "torch.func vmap"
MIXED = "lanes, mixed zoo"


def seed_name(engine: str) -> str:
    """What the table calls training a seed zoo by an engine of jaxzoo."""
    return f"{engine}, seed zoo"


def twins_name(method: str) -> str:
    """What the table calls training twins by a method."""
    return f"twins, {method}"


class Subject(NamedTuple):
    """What is trained: the name in the table, a population of one kind, and one of all kinds or None."""

    name: str
    cohort: Cohort
    mixed: Sequence[Cohort] | None = None


def published_subject(architecture: str) -> Subject:
    """An architecture of the published zoos: its seed zoo, and its zoo of all that the published grids mix."""
    seeds, mixed = (load_spec(zoos[architecture]) for zoos in (contenders.SEED_ZOOS, contenders.MIXED_ZOOS))
    return Subject(architecture, contenders.typical_cohort(seeds), plan_zoo(mixed).cohorts)


def quick_contenders(subject: Subject) -> list[str]:
    """The reference where PyTorch is installed, the usual engine of jaxzoo, and twins by the published method."""
    key = subject.cohort.key
    usual = seed_name(engines_for(key.layers, key.precision)[0])
    return [name for name in contenders_of(subject, 1) if name in (REFERENCE, usual, twins_name(METHODS[0]))]


def measure(
    subject: Subject,
    *,
    models: int,
    rounds: int,
    seconds: float,
    only: Sequence[str] | None = None,
    on_run: Callable[[str], None] = lambda name: None,
) -> pd.DataFrame:
    """A row per contender: samples/s (median, lowest, highest), ratio to the reference, share of the matmul peak.

    Every round runs each contender once for `seconds` seconds. Ratio and share are computed within each round, and the
    table has their medians over rounds. The share counts the arithmetic of a dense sample, even for twins. `only`
    names the contenders to measure, None for all. Raises InputError for an unknown one.
    """
    builders = _chosen(contenders_of(subject, models), only)
    # fresh processes: each contender sets up JAX or PyTorch for itself, and its peak memory is its own
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    columns: dict[str, dict[str, Any]] = {}
    for name, builder in builders.items():
        on_run(f"{subject.name}, {name}: setting up")
        own_end, other_end = context.Pipe()
        context.Process(target=_serve, args=(other_end, builder)).start()
        other_end.close()  # so that the end of the process is the end of the pipe
        columns[name] = {"setup_seconds": _answer(name, own_end)}
        pipes[name] = own_end
    rates = {name: np.zeros(rounds) for name in builders}
    # in turn, so that what else the machine does meets all contenders alike
    for number in range(rounds):
        for name, pipe in pipes.items():
            on_run(f"{subject.name}, {name}: turn {number + 1} of {rounds}")
            pipe.send(seconds)
            rates[name][number], columns[name]["peak_memory_MB"] = _answer(name, pipe)
    for pipe in pipes.values():
        pipe.close()  # ends the process
    return _table(subject, rates, columns)


def _answer(name: str, pipe: Connection) -> Any:
    """What a contender's process says. Raises InputError where it has ended instead."""
    try:
        return pipe.recv()
    except EOFError as error:
        raise InputError(f"{name}: its process has ended with the error above, expected an answer") from error


def _table(subject: Subject, rates: dict[str, np.ndarray], columns: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row per contender, from its rate in each round and from its other columns."""
    peak = rates.pop("matmul")
    key = subject.cohort.key
    flops = training_flops(key.layers, key.dataset)
    rows = []
    for name, rate in rates.items():
        # without PyTorch there is no reference
        ratio = rate / rates[REFERENCE] if REFERENCE in rates else np.full(len(rate), np.nan)
        rows.append(
            {
                "architecture": subject.name,
                "contender": name,
                "samples_per_s": np.median(rate),
                "lowest": rate.min(),
                "highest": rate.max(),
                "ratio": np.median(ratio),
                "share_of_peak": np.median(rate * flops / peak),
                **columns[name],
                "rounds": len(rate),
            }
        )
    return pd.DataFrame(rows)


def _chosen(builders: Builders, only: Sequence[str] | None) -> Builders:
    """The matrix product is always measured, since the table has every contender's share of it."""
    if only is None:
        return builders
    for name in only:
        require(name in builders, "contenders", name, f"one of: {nearest(name, builders)}")
    return {name: builder for name, builder in builders.items() if name in (*only, "matmul")}


def contenders_of(subject: Subject, models: int) -> Builders:
    """The ways to train a subject, by name: what sets each of them up."""
    seeds = functools.partial(contenders.population, [subject.cohort])
    key = subject.cohort.key
    builders: dict[str, Callable[[], contenders.Contender]] = {"matmul": contenders.matmul_peak}
    if importlib.util.find_spec("torch"):
        from jaxzoo.bench import pytorch

        builders[REFERENCE] = functools.partial(pytorch.one_model_per_core, key)
        if not norm_layers(key.layers):  # running statistics are written in place, which torch.func.vmap refuses
            builders[STACKED] = functools.partial(pytorch.stacked_models, key, models)
    engines = engines_for(key.layers, key.precision)
    for engine in ("vmap", "lanes"):
        if engine in engines:
            builders[seed_name(engine)] = functools.partial(seeds, engine, models)
    if subject.mixed is not None:
        builders[MIXED] = functools.partial(contenders.population, subject.mixed, "lanes", models)
    for method in METHODS if "lanes" in engines else ():
        builders[twins_name(method)] = functools.partial(seeds, "lanes", models, TwinSpec(method=method))
    return builders


def _serve(pipe: Connection, builder: Callable[[], contenders.Contender]) -> None:
    """A contender's process. It sets itself up, then answers each number of seconds with a rate and its peak memory.

    It ends when nobody asks any more.
    """
    contender = builder()
    pipe.send(contender.setup_seconds)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send((contender.run(pipe.recv()), contender.peak_memory()))
