"""What a zoo will take, before it is begun: compilations, memory, disk, and time at a rate that is measured here."""

import functools
import time
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxzoo.compilation import compilation_cached
from jaxzoo.datasets.images import Images, Split
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.asked import asked_of
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.form import Form
from jaxzoo.spec.layers import Layers
from jaxzoo.spec.plan import Cohort, CohortKey
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.retention import ZooBytes
from jaxzoo.training.checks import space_of
from jaxzoo.training.fitting import fit_cohorts, keeps_steps
from jaxzoo.training.forms import with_form
from jaxzoo.training.job import Job
from jaxzoo.training.memory import Kind, Needs, compile_to_fit, device_memory, most_demanding, order_bytes
from jaxzoo.training.population import initial_state, initial_variables, put_cohort, put_images
from jaxzoo.training.programs import Program, build_program
from jaxzoo.training.steps import DeviceImages
from jaxzoo.training.tuning import choose_ways, examples_per_second

EVALUATED = 256  # images, to measure how fast a slab is evaluated


class Part(NamedTuple):
    """What the zoo itself, or its twins, take: `seconds` of training and evaluation without compiling and saving.

    `rate` has the training samples/s of a full slab, as measured here. `epochs` are those that are still to be trained,
    over all cohorts.
    """

    seconds: float
    rate: float
    epochs: int
    disk: ZooBytes


class Forecast(NamedTuple):
    """What a zoo will take.

    `ways` has the engines and lanes of its cohorts, `form` what their members have side by side. `compilations` counts
    the kinds of cohorts and of twins, each of which has programs of its own. `memory` has the bytes of each device that
    its largest cohort takes, `limit` those that a device has. `measured` says which kind of cohort the rates are of.
    `twins` is None where none are made.
    """

    cohorts: int
    models: int
    compilations: int
    ways: tuple[tuple[str, int], ...]
    form: Form
    memory: int
    limit: int
    measured: str
    zoo: Part
    twins: Part | None


@compilation_cached()
@pinned_settings()
def forecast(job: Job, mesh: Mesh) -> Forecast:
    """What the call of a job will take. Trains for a second, on images of noise: nothing is loaded and nothing written.

    Raises InputError where the devices do not hold a cohort.
    """
    images = functools.lru_cache(maxsize=1)(lambda dataset: put_images(_noise(dataset), mesh))
    ways: dict[Layers, tuple[str, int]]
    if job.begun is None:
        job = with_form(job, mesh, lambda text: None)
        choices = choose_ways(job, images, mesh)
        job = job._replace(plan=fit_cohorts(job, choices, mesh, lambda text: None))
        ways = {layers: (choice.engine, choice.lanes) for layers, choice in choices.items()}
    else:
        begun = zip(job.plan.cohorts, job.begun.cohorts, strict=True)
        ways = {cohort.key.layers: (way.engine, way.lanes) for cohort, way in begun}
    kinds = {cohort.key: cohort for cohort in job.chosen}
    twins = (None,) if job.twin is None else (None, job.twin)
    hardest = kinds[most_demanding([Kind(key, *ways[key.layers], mesh) for key in kinds]).key]
    engine, lanes = ways[hardest.key.layers]
    parts, needs = [], []
    for twin, disk in zip(twins, space_of(job), strict=True):
        program = build_program(hardest.key, engine, lanes, mesh, twin)
        compiled, need = compile_to_fit(program)
        parts.append(_part(job, program, compiled, hardest, images(hardest.key.dataset), twin, disk))
        needs.append(need)
    return Forecast(
        cohorts=len(job.chosen),
        models=sum(len(cohort.members) for cohort in job.chosen),
        compilations=len(kinds) * len(twins),
        ways=tuple(dict.fromkeys(ways.values())),
        form=job.plan.form,
        memory=max(_memory(need, job, program.width, lanes) for need in needs),
        limit=device_memory(mesh, needs[0].training),
        measured=hardest.key.label,
        zoo=parts[0],
        twins=parts[1] if job.twin is not None else None,
    )


def _memory(needs: Needs, job: Job, width: int, lanes: int) -> int:
    """Bytes of a device that the largest cohort takes: one slab trains, the others wait."""
    largest = max(job.chosen, key=lambda cohort: len(cohort.members))
    slabs = -(-len(largest.members) // width)
    order = lanes * order_bytes(largest.key) if keeps_steps(job.plan.spec) else 0
    return needs.training + (slabs - 1) * (needs.waiting + order)


def _part(
    job: Job,
    program: Program,
    compiled: jax.stages.Compiled,
    cohort: Cohort,
    images: DeviceImages,
    twin: TwinSpec | None,
    disk: ZooBytes,
) -> Part:
    dataset = cohort.key.dataset
    last = job.plan.spec.epochs if twin is None else twin.length
    trained = examples_per_second(program, compiled, cohort, images)
    evaluated = _evaluated_per_second(program, cohort, images)
    evaluating = (dataset.validation + dataset.test) / evaluated
    beside = 0.0 if twin is not None else _beside(job.plan.spec, cohort.key, evaluated)
    seconds, left = 0.0, 0
    for one in job.chosen:
        slabs = -(-len(one.members) // program.width)
        held = job.held(one, twin) or [-1]
        epochs = last - max(0, min(held[-1], last))
        untrained = (dataset.train + dataset.validation + dataset.test) / evaluated if held == [-1] else 0.0
        each = one.most_seen / trained + evaluating + beside
        seconds += slabs * (epochs * each + untrained)
        left += epochs
    return Part(seconds, trained * program.width, left, disk)


def _beside(spec: ZooSpec, key: CohortKey, evaluated: float) -> float:
    """Seconds of an epoch, on average, in which the steps and the outputs that are asked for are evaluated."""
    asked, dataset = asked_of(spec, key), key.dataset
    heldout = 0 if spec.snapshots is None else min(spec.snapshots.examples, dataset.validation or dataset.test)
    examples = 0 if spec.outputs is None else sum(getattr(dataset, split) for split in spec.outputs.splits)
    return (len(asked.steps) * heldout + len(asked.outputs) * examples) / (spec.epochs * evaluated)


def _evaluated_per_second(program: Program, cohort: Cohort, images: DeviceImages) -> float:
    """The examples that a slab is evaluated on in a second, each by all of its models."""
    one = cohort._replace(members=cohort.members[:1])
    ((state, phases),) = put_cohort(program, one, initial_state(initial_variables(one), program.method)).slabs
    params = state.params if program.sparse is None else program.sparse(state.params)
    count = min(EVALUATED, len(images.labels))
    seconds = []
    for _ in range(2):  # the first one compiles
        begin = time.monotonic()
        jax.block_until_ready(program.evaluate(params, state.batch_stats, phases[0].codes, images, 0, count))
        seconds.append(time.monotonic() - begin)
    return count / seconds[-1]


def _noise(dataset: DatasetSpec) -> Images:
    """Images of noise in the number and shape of a dataset: how fast they train does not depend on what they show."""
    draws = np.random.default_rng(0)

    def split(count: int) -> Split:
        pixels = draws.integers(0, 256, (count, dataset.size, dataset.size, dataset.channels), np.uint8)
        return Split(pixels, draws.integers(0, dataset.classes, count, np.int32))

    half = np.full(dataset.channels, 0.5)
    return Images(split(dataset.train), split(dataset.validation), split(dataset.test), half, half, "noise")
