"""A cohort on the devices: put there, trained through an epoch, evaluated, brought back.

A cohort lies on the devices in slabs of equal width. Copies of its last member fill up the last slab. On the host, as
on disk, the model axis is first; it is moved to the end on the way to a device, and back on the way home.
"""

import functools
import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxzoo.datasets import Images
from jaxzoo.datasets.subsets import NOTHING_SPECIAL, Seen
from jaxzoo.devices import COMPILER_OPTIONS, put_copies, put_lanes
from jaxzoo.keys import Role, fold, member_keys
from jaxzoo.models.initializers import rescaled
from jaxzoo.models.modules import draw_variables, module_missing
from jaxzoo.models.networks import Network, Params, Variables
from jaxzoo.models.tally import Tally, empty_tally
from jaxzoo.spec.dataset_spec import SPLITS, DatasetSpec
from jaxzoo.spec.layers import Layers, module_of
from jaxzoo.spec.plan import Cohort
from jaxzoo.training.events import Metrics
from jaxzoo.training.hyperparameters import Hyperparameters, epochs_of_change, hyperparameters_at
from jaxzoo.training.order import Order
from jaxzoo.training.programs import Program
from jaxzoo.training.sparsify import Method
from jaxzoo.training.steps import DeviceImages, State

SEGMENT_SECONDS = 0.5  # how often progress shows and an interrupt acts
FIRST_SEGMENT = 16  # steps
# compiled in a fifth of the time, on a CPU to the same bits: a member draws its weights once
QUICKLY = {"xla_backend_optimization_level": 1}


class Slab(NamedTuple):
    """As many members as one run of a program takes, on the devices, with the model axis last.

    `hyperparameters` are those of each of the population's `phases`.
    """

    state: State
    hyperparameters: Sequence[Hyperparameters]


class Population(NamedTuple):
    """A cohort on the devices: `size` members, in slabs that training replaces.

    `phases` are the epochs, counted from 1, from which on members have other hyperparameters than before. `seen` has by
    slab the phase that was last asked for, and what members see in it of the training examples.
    """

    program: Program
    slabs: list[Slab]
    size: int
    phases: Sequence[int]
    seen: dict[int, tuple[int, Seen]]


class Stopped(Exception):
    """`should_stop` asked for an end in the middle of an epoch, whose training so far is lost."""


def put_images(images: Images, mesh: Mesh) -> DeviceImages:
    """Puts all splits on every device of the mesh."""
    splits = (images.train, images.validation, images.test)
    scale, shift = images.scale_and_shift
    return DeviceImages(
        pixels=put_copies(mesh, np.concatenate([split.pixels for split in splits])),
        labels=put_copies(mesh, np.concatenate([split.labels for split in splits])),
        scale=put_copies(mesh, scale),
        shift=put_copies(mesh, shift),
    )


def initial_variables(cohort: Cohort) -> Variables:
    """The untrained parameters, and batch statistics where networks have them; leaves (models, ...) on the host.

    They are drawn one member at a time, so that a member has the same bits whoever else is in the cohort.
    """
    initializations = {member.hyperparameters["initialization"] for member in cohort.members}
    platform = next(iter(jax.device_put(np.int32(0)).devices())).platform  # of the device that draws
    draws = {name: _initializer(cohort.key.layers, cohort.key.dataset, name, platform) for name in initializations}
    drawn = [
        draws[member.hyperparameters["initialization"]](key)
        for member, key in zip(cohort.members, member_keys(_seeds(cohort)), strict=True)
    ]
    begun = [
        rescaled(variables, member.hyperparameters)
        for member, variables in zip(cohort.members, jax.device_get(drawn), strict=True)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *begun)


@functools.lru_cache(maxsize=8)  # compiled once for the cohorts of a zoo, and not kept for ever
def _initializer(
    layers: Layers, dataset: DatasetSpec, initialization: str, platform: str
) -> Callable[[jax.Array], Variables]:
    module = module_of(layers)
    image = np.zeros((1, dataset.size, dataset.size, dataset.channels), np.float32)

    if module is not None and module.module is None:
        raise module_missing(module)

    def draw(member: jax.Array) -> Any:
        key = fold(member, Role.INITIALIZATION)
        if module is not None:
            return draw_variables(module.module, key, image)
        # no draw depends on the activation
        return Network(layers, dataset.classes, "tanh", initialization).init(key, image)

    return jax.jit(draw, compiler_options=COMPILER_OPTIONS | (QUICKLY if platform == "cpu" else {}))


def initial_state(variables: Variables, method: Method | None = None) -> State:
    """The state before the first step, from dense variables; leaves (models, ...) on the host."""
    params, masks = (variables["params"], {}) if method is None else method.begin(variables["params"])
    return State(params, None, masks, variables.get("batch_stats", {}))


def put_cohort(program: Program, cohort: Cohort, state: State) -> Population:
    """Puts the cohort on the devices, from its state on the host. An optimizer that is None is initialised there."""
    changes = epochs_of_change(cohort)
    hyperparameters = [hyperparameters_at(cohort, epoch) for epoch in changes]
    phases: Sequence[int] = changes
    if program.method is not None:  # twins count epochs anew, and begin from where all changes act
        phases, hyperparameters = (1,), hyperparameters[-1:]
    count = len(cohort.members)
    slabs = []
    for first in range(0, count, program.width):
        rows = np.minimum(np.arange(first, first + program.width), count - 1)
        slab = jax.tree.map(functools.partial(put_lanes, program.mesh, rows), Slab(state, hyperparameters))
        if slab.state.optimizer is None:
            optimizer = program.begin_optimizer(slab.state.params)
            slab = slab._replace(state=slab.state._replace(optimizer=optimizer))
        slabs.append(slab)
    return Population(program, slabs, count, phases, {})


def get_state(population: Population) -> State:
    """The state of a population, leaves (models, ...) on the host."""
    return _join(population, [slab.state for slab in population.slabs])


def get_params(population: Population) -> Params:
    """The parameters as they are evaluated, sparse ones with their zeros; leaves (models, ...) on the host."""
    return _join(population, [evaluated_params(population.program, slab) for slab in population.slabs])


def evaluated_params(program: Program, slab: Slab) -> Params:
    """The parameters of a slab as they are evaluated, on the devices."""
    return slab.state.params if program.sparse is None else program.sparse(slab.state.params)


def _join(population: Population, slabs: Sequence[Any]) -> Any:
    def join(*leaves: np.ndarray) -> np.ndarray:
        if leaves[0].ndim == 0:
            return leaves[0]
        return np.concatenate([np.moveaxis(leaf, -1, 0) for leaf in leaves])[: population.size]

    return jax.tree.map(join, *jax.device_get(slabs))


def train_epoch(
    population: Population,
    images: DeviceImages,
    epoch: int,
    on_steps: Callable[[int], None] = lambda samples: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    pauses: Sequence[int] = (),
    on_pause: Callable[[int], None] = lambda step: None,
) -> Metrics:
    """Trains every slab through one epoch, in place. The states that the population had are used up.

    Returns loss and accuracy as running means over the epoch, (models,). After every segment of about half a second
    `on_steps` hears how many training samples it was. Raises Stopped between two segments when `should_stop()`.
    `pauses` are numbers of steps in this epoch, in ascending order and fewer than all: after each of them, when the
    whole population is there, `on_pause` may read its state. No bit of the training depends on them.
    """
    program, slabs = population.program, population.slabs
    courses: dict[int, _Course] = {}
    segment = FIRST_SEGMENT
    for begin, end in itertools.pairwise((0, *pauses, program.steps)):
        for index in range(len(slabs)):
            course = courses[index] if begin > 0 else _begin_epoch(population, index, images, epoch)
            hyperparameters, order, examples, tally = course
            state = slabs[index].state
            first, until = begin, min(end, -(-int(examples.max()) // program.key.batch_size))
            while first < until:
                if should_stop():
                    raise Stopped
                start = time.monotonic()
                last = min(first + segment, until)
                when = map(np.int32, (epoch, first, last))  # typed as they were when the program was compiled
                state, tally = program.train(state, tally, hyperparameters, images, order, *when)
                jax.block_until_ready(tally)
                segment = _next_segment(segment, last - first, time.monotonic() - start)
                on_steps(_samples_between(program, first, last, examples))
                first = last
            slabs[index] = slabs[index]._replace(state=state)
            # an order takes more memory than a state may: it is let go as soon as its slab is through with the epoch
            through = end == program.steps
            courses[index] = (
                course._replace(order=None, tally=jax.device_get(tally)) if through else course._replace(tally=tally)
            )
        if end < program.steps:
            on_pause(end)
    examples = np.concatenate([course.examples for course in courses.values()])
    return _metrics("train", [course.tally for course in courses.values()], population.size, examples)


class _Course(NamedTuple):
    """A slab in the middle of an epoch. `examples`, (M,), counts what members see, without copies."""

    hyperparameters: Hyperparameters
    order: Order | None
    examples: np.ndarray
    tally: Tally


def _begin_epoch(population: Population, index: int, images: DeviceImages, epoch: int) -> _Course:
    """Shuffles the examples of a slab, and brings its masks to the epoch."""
    program, slab = population.program, population.slabs[index]
    phase = sum(first <= epoch for first in population.phases) - 1
    hyperparameters = slab.hyperparameters[phase]
    order = program.shuffle(hyperparameters.seed, _seen(population, index, phase, images), epoch)
    if program.mask is not None:
        population.slabs[index] = slab._replace(state=program.mask(slab.state, epoch))
    own_M = _examples_seen(program, order)[: population.size - index * program.width]
    return _Course(hyperparameters, order, own_M, empty_tally(hyperparameters.numbers["learning_rate"]))


def _seen(population: Population, index: int, phase: int, images: DeviceImages) -> Seen:
    """What the members of a slab see in a phase of the training examples, drawn once."""
    program, slab = population.program, population.slabs[index]
    if program.see is None:
        return NOTHING_SPECIAL
    if population.seen.get(index, (None,))[0] != phase:
        population.seen[index] = phase, program.see(slab.hyperparameters[phase], images.labels)
    return population.seen[index][1]


def _examples_seen(program: Program, order: Order) -> np.ndarray:
    """How many training examples each lane's member sees, (M,)."""
    if order.seen is None:
        return np.full(program.width, program.key.dataset.train)
    return np.asarray(jax.device_get(order.seen))


def _samples_between(program: Program, first: int, last: int, seen_M: np.ndarray) -> int:
    """The training samples of the steps first to last - 1, of members that see so many examples."""
    before, after = (np.minimum(step * program.key.batch_size, seen_M) for step in (first, last))
    return int((after - before).sum())


def evaluate(
    population: Population,
    images: DeviceImages,
    splits: Sequence[str],
    should_stop: Callable[[], bool] = lambda: False,
) -> Metrics:
    """Loss and accuracy on splits ("train", "validation", "test"), (models,) each; NaN on an empty split.

    Raises Stopped between two slabs when `should_stop()`.
    """
    metrics: Metrics = {}
    for split in splits:
        metrics |= _evaluate(
            population, images, split, split_bounds(population.program.key.dataset)[split], should_stop
        )
    return metrics


def evaluate_heldout(population: Population, images: DeviceImages, examples: int) -> Metrics:
    """Loss and accuracy, (models,) each, on the fixed held-out subset: the first `examples` of validation.

    They are of the test split where validation is empty, and fewer where there are fewer.
    """
    dataset = population.program.key.dataset
    first, last = split_bounds(dataset)["validation" if dataset.validation else "test"]
    return _evaluate(population, images, "heldout", (first, min(first + examples, last)))


def split_bounds(dataset: DatasetSpec) -> dict[str, tuple[int, int]]:
    """By split the indices, among all images on a device, of its first image and of the one after its last."""
    ends = itertools.accumulate(getattr(dataset, split) for split in SPLITS)
    return {split: (end - getattr(dataset, split), end) for split, end in zip(SPLITS, ends, strict=True)}


def _evaluate(
    population: Population,
    images: DeviceImages,
    name: str,
    bounds: tuple[int, int],
    should_stop: Callable[[], bool] = lambda: False,
) -> Metrics:
    """Loss and accuracy on the images from the first of the bounds to the one before the second."""
    program, slabs, count = population[:3]
    tallies = []
    for slab in slabs:
        if should_stop():
            raise Stopped
        tallies.append(jax.device_get(_tally(program, slab, images, bounds)))
    return _metrics(name, tallies, count, bounds[1] - bounds[0])


def _tally(program: Program, slab: Slab, images: DeviceImages, bounds: tuple[int, int]) -> Tally:
    codes = slab.hyperparameters[0].codes
    return program.evaluate(evaluated_params(program, slab), slab.state.batch_stats, codes, images, *bounds)


def _metrics(name: str, tallies: Sequence[Tally], count: int, examples: int | np.ndarray) -> Metrics:
    loss, correct = (np.concatenate(sums)[:count] for sums in zip(*tallies, strict=True))
    divisor = np.where(np.asarray(examples) > 0, examples, math.nan)
    return {f"{name}_loss": loss / divisor, f"{name}_accuracy": correct / divisor}


def _next_segment(segment: int, steps: int, seconds: float) -> int:
    """Steps that take about SEGMENT_SECONDS; at most four times as many as before, as the first run also compiles."""
    return max(1, min(4 * segment, round(steps * SEGMENT_SECONDS / max(seconds, 1e-6))))


def _seeds(cohort: Cohort) -> np.ndarray:
    return np.array([member.seed for member in cohort.members], np.uint32)
