"""How fast the devices here are with each engine and width that `--engine auto` would try on them."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
from jax.sharding import Mesh

from jaxzoo.bench.contenders import SEED_ZOOS, random_images, typical_cohort
from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.devices import platform_of
from jaxzoo.errors import InputError, first_line
from jaxzoo.models.tally import empty_tally
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.config import load_spec
from jaxzoo.spec.plan import Cohort
from jaxzoo.training.memory import compile_to_fit
from jaxzoo.training.population import initial_state, initial_variables, put_cohort, put_images
from jaxzoo.training.programs import Program, build_program
from jaxzoo.training.steps import DeviceImages
from jaxzoo.training.tuning import candidates_for

CALL_SECONDS = 0.2  # a call of a program takes that long or longer, so that starting it costs little
COMPILE_ERRORS = (InputError, jax.errors.JaxRuntimeError)  # of a candidate that a device cannot compile, or hold

Way = tuple[str, int]  # an engine, and the lanes of a device
OnRun = Callable[[str], None]


def published_cohort(architecture: str) -> Cohort:
    """The typical cohort of an architecture's seed zoo."""
    return typical_cohort(load_spec(SEED_ZOOS[architecture]))


def way_name(way: Way) -> str:
    """An engine and its width, as a table calls them."""
    engine, lanes = way
    return f"{engine}, {lanes:,} wide"


@pinned_settings()
def candidate_rates(architecture: str, mesh: Mesh, *, rounds: int, seconds: float, on_run: OnRun) -> pd.DataFrame:
    """A row for each of what `--engine auto` would try on these devices: its rate in turns, and what compiling took.

    `memory_MB` is what the compiled program needs on each device, images and state included. A candidate that fails has
    no rate, and says in `failure` why.
    """
    cohort = published_cohort(architecture)
    images = put_images(random_images(cohort.key.dataset), mesh)
    rows: dict[Way, dict[str, Any]] = {}
    runs: dict[Way, Callable[[float], float]] = {}
    rates: dict[Way, list[float]] = {}
    for way in candidates_for(cohort.key, platform_of(mesh)):
        on_run(f"{architecture}: compiling {way_name(way)}")
        rows[way] = {"architecture": architecture, "contender": f"{way_name(way)}, seed zoo"}
        start = time.monotonic()
        try:
            program = build_program(cohort.key, *way, mesh)
            compiled, needs = compile_to_fit(program)
            rows[way] |= {"compile_seconds": time.monotonic() - start, "memory_MB": needs.training / 1e6}
            runs[way] = training_runner(program, compiled, cohort, images)
            rates[way] = []
        except COMPILE_ERRORS as error:
            rows[way]["failure"] = first_line(error)
    # in turn, so that what else the machine does meets all of them alike
    for number, way in itertools.product(range(rounds), [*runs]):
        on_run(f"{architecture}: {way_name(way)}, turn {number + 1} of {rounds}")
        try:
            rates[way].append(runs[way](seconds))
        except COMPILE_ERRORS as error:
            rows[way]["failure"] = first_line(error)
    return pd.DataFrame([_rate_row(row, rates.get(way, [])) for way, row in rows.items()])


def _rate_row(row: dict[str, Any], rates: Sequence[float]) -> dict[str, Any]:
    known = rates or [float("nan")]
    return {
        "architecture": row["architecture"],
        "contender": row["contender"],
        "samples_per_s": np.median(known),
        "lowest": min(known),
        "highest": max(known),
        "compile_seconds": row.get("compile_seconds"),
        "memory_MB": row.get("memory_MB"),
        "rounds": len(rates),
        "failure": row.get("failure"),
    }


def training_runner(program: Program, compiled: Any, cohort: Cohort, images: DeviceImages) -> Callable[[float], float]:
    """A function that trains one slab for so many seconds, and gives training samples per second over its models."""
    one = cohort._replace(members=cohort.members[:1])  # copies of one member fill every lane
    (slab,) = put_cohort(program, one, initial_state(initial_variables(one), program.method)).slabs
    hyperparameters = slab.hyperparameters[0]
    order = program.shuffle(hyperparameters.seed, NOTHING_SPECIAL, np.int32(1))
    carried = [slab.state, empty_tally(hyperparameters.numbers["learning_rate"])]
    steps = 1

    def call() -> float:
        begin = time.monotonic()
        when = map(np.int32, (1, 0, steps))
        carried[:] = compiled(*carried, hyperparameters, images, order, *when)
        jax.block_until_ready(carried[1])
        return time.monotonic() - begin

    call()  # the first call takes longer
    while steps < program.steps and call() < CALL_SECONDS:
        steps = min(2 * steps, program.steps)

    def run(seconds: float) -> float:
        taken, calls = 0.0, 0
        while taken < seconds:
            taken += call()
            calls += 1
        return calls * steps * program.key.batch_size * program.width / taken

    return run
