"""The fastest engine and lane width for a cohort on the devices at hand, measured."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.devices import platform_of
from jaxzoo.errors import InputError, first_line
from jaxzoo.models.engines import ENGINES, engines_for, usual_lanes, usual_way
from jaxzoo.models.tally import empty_tally
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.layers import Layers, module_of, norm_layers
from jaxzoo.spec.plan import Cohort, CohortKey
from jaxzoo.training.checks import AUTO
from jaxzoo.training.job import Job
from jaxzoo.training.memory import Kind, compile_to_fit, models_that_fit, most_demanding
from jaxzoo.training.population import initial_state, initial_variables, put_cohort
from jaxzoo.training.programs import Program, build_program
from jaxzoo.training.steps import DeviceImages

SEARCH_SECONDS = 22.0  # after these no candidate is begun; with the last one's compilation the search stays under 30 s
RUN_SECONDS = 0.5

# (engine, lanes a device), the likely best first. On a CPU 16 floats fill a vector, and the working set of 8 to 32
# lanes stays in a core's cache. Plain vmap is 40 times slower on a CPU and is not tried there.
CPU_CANDIDATES = (("lanes", 16), ("lanes", 32), ("lanes", 8))
# 1,024 lanes fill the registers of a TPU and have kernels of their own. Its compiler takes ten minutes for vmap, of
# float32 products in float32, and estimates a tenth of the rate.
TPU_CANDIDATES = (("lanes", 1024), ("lanes", 128), ("lanes", 256))
# measured on an H200: 256 lanes are the fastest for CNN-s, 1,024 for CNN-l, and vmap reaches 10 and 40 % of them
GPU_CANDIDATES = (("lanes", 256), ("lanes", 1024), ("lanes", 128))
MOST_MEASURED = 8  # architectures
LARGE_CANDIDATES = (("vmap", 1), ("vmap", 2))  # of networks that fill a device one by one


OnNote = Callable[[str], None]


def _quiet(text: str) -> None:
    """Says nothing."""


class Choice(NamedTuple):
    """How a zoo is trained. `timed` has the training samples/s of every candidate by "<engine> <lanes>", if any."""

    engine: str
    lanes: int
    timed: Mapping[str, float] | None = None


def measure_engines(cohorts: Sequence[Cohort], images: DeviceImages, mesh: Mesh, on_note: OnNote = _quiet) -> Choice:
    """Trains some steps by each candidate that fits the device, and chooses the fastest.

    What is timed is the kind of cohort that takes the most memory; a candidate has to fit the device with every kind.
    One that does not fit, or that fails while it is compiled or timed, is noted and left out.
    Raises InputError where none is left.
    """
    start = time.monotonic()
    timed: dict[tuple[str, int], float] = {}
    kinds = {cohort.key: cohort for cohort in cohorts}
    for engine, lanes in _candidates(cohorts[0], mesh):
        if timed and time.monotonic() - start > SEARCH_SECONDS:
            break
        possible = [Kind(key, engine, lanes, mesh) for key in kinds]
        hardest = most_demanding(possible)
        program, cohort = build_program(*hardest), kinds[hardest.key]
        try:
            models_that_fit(possible, max(len(cohort.members) for cohort in cohorts))
            compiled, _ = compile_to_fit(program)
            rate = examples_per_second(program, compiled, cohort, images)
        except (InputError, jax.errors.JaxRuntimeError) as error:
            # a device or its compiler may fail with one program and be sound for the next
            on_note(f"engine {engine}, {lanes} lanes: {first_line(error)}")
            continue
        slabs = -(-len(cohort.members) // program.width)
        # lanes that the last slab leaves empty do not count
        timed[engine, lanes] = rate * len(cohort.members) / slabs
    if not timed:
        raise InputError("engine: no candidate fits the memory of this device and runs on it, expected one that does")
    engine, lanes = max(timed, key=timed.__getitem__)
    named = {f"{name} {width}": round(rate) for (name, width), rate in timed.items()}
    rates = ", ".join(f"{name}: {rate:,}" for name, rate in named.items())
    on_note(f"engine {engine}, {lanes} lanes a device, is the fastest here (samples/s: {rates})")
    return Choice(engine, lanes, named)


def choose_ways(
    job: Job, on_device: Callable[[DatasetSpec], DeviceImages], mesh: Mesh, on_note: OnNote = _quiet
) -> dict[Layers, Choice]:
    """How each architecture is trained: as a call says, else in the usual way on a CPU, and as measured elsewhere.

    Where there are many architectures, each in the usual way for as many models as have it: to measure takes half a
    minute each.
    """
    cohorts: dict[Layers, list[Cohort]] = {}
    for cohort in job.plan.cohorts:  # the record says it of those, too, that other calls make
        cohorts.setdefault(cohort.key.layers, []).append(cohort)
    unsaid = job.engine is None and job.lanes is None
    measures = job.engine == AUTO or (unsaid and platform_of(mesh) != "cpu")
    if measures and len(cohorts) > MOST_MEASURED:
        on_note(f"{len(cohorts)} architectures are trained in their usual ways: more than {MOST_MEASURED} to measure")
        measures = False
    ways = {}
    for layers, own in cohorts.items():
        if measures:
            ways[layers] = measure_engines(own, on_device(own[0].key.dataset), mesh, on_note)
        else:
            ways[layers] = _unmeasured(job, layers, own, platform_of(mesh))
    return ways


def _unmeasured(job: Job, layers: Layers, cohorts: Sequence[Cohort], platform: str) -> Choice:
    spec = job.plan.spec
    engine, lanes = engines_for(layers, spec.precision)[0], usual_lanes(layers, platform)
    if "architecture" in spec.declared:
        engine, lanes = usual_way(layers, spec.precision, max(len(cohort.members) for cohort in cohorts), platform)
    return Choice(job.engine if job.engine in ENGINES else engine, job.lanes or lanes)


def candidates_for(key: CohortKey, platform: str) -> tuple[tuple[str, int], ...]:
    """Engines and lane widths that are worth trying, the likely best first."""
    if norm_layers(key.layers):
        return LARGE_CANDIDATES
    if module_of(key.layers) is not None:  # of any size
        return tuple(("vmap", lanes) for lanes in dict.fromkeys((usual_lanes(key.layers, platform), 16, 1)))
    if engines_for(key.layers, key.precision) == ("vmap",):
        return (("vmap", usual_lanes(key.layers, platform)),)
    return {"cpu": CPU_CANDIDATES, "tpu": TPU_CANDIDATES}.get(platform, GPU_CANDIDATES)


def _candidates(cohort: Cohort, mesh: Mesh) -> list[tuple[str, int]]:
    """The candidates without widths that the cohort would leave half empty; the narrowest always stays."""
    candidates = candidates_for(cohort.key, platform_of(mesh))
    enough = max(2 * -(-len(cohort.members) // mesh.size), 1 + min(lanes for _, lanes in candidates))
    return [(engine, lanes) for engine, lanes in candidates if lanes < enough]


def examples_per_second(program: Program, compiled: Any, cohort: Cohort, images: DeviceImages) -> float:
    """The examples that a slab trains on in a second, each by all of its models."""
    one = cohort._replace(members=cohort.members[:1])  # copies of one member fill every lane
    (slab,) = put_cohort(program, one, initial_state(initial_variables(one), program.method)).slabs
    state, hyperparameters = slab.state, slab.hyperparameters[0]
    seen = NOTHING_SPECIAL if program.see is None else program.see(hyperparameters, images.labels)
    order = program.shuffle(hyperparameters.seed, seen, np.int32(1))
    tally = empty_tally(hyperparameters.numbers["learning_rate"])
    rates = []
    start = time.monotonic()
    for doubling in itertools.count():
        steps = min(2**doubling, program.steps)
        begin = time.monotonic()
        epoch, first, last = np.int32(1), np.int32(0), np.int32(steps)
        state, tally = compiled(state, tally, hyperparameters, images, order, epoch, first, last)
        jax.block_until_ready(tally)
        rates.append(steps * cohort.key.batch_size / (time.monotonic() - begin))
        if doubling and time.monotonic() - start > RUN_SECONDS + 1 / rates[0]:
            break
    return max(rates)
