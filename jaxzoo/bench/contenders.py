"""The contenders of the bench. Each sets itself up once, and then trains for some seconds whenever it is asked to."""

import itertools
import resource
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxzoo.datasets.images import Images, Split, make_images
from jaxzoo.datasets.subsets import NOTHING_SPECIAL, Seen
from jaxzoo.devices import model_mesh, platform_of, use_all_cores
from jaxzoo.models.engines import usual_lanes
from jaxzoo.models.tally import empty_tally
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.plan import Cohort, plan_zoo
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.training.population import Slab, initial_state, initial_variables, put_cohort, put_images
from jaxzoo.training.programs import Program, build_program
from jaxzoo.training.steps import DeviceImages

STEPS = 10  # training steps in one call of a program; one step of a network that fills a core
LANES = 16  # models at a time on one core: with many more they would not fit its cache

# for each architecture a seed zoo, with tanh and Adam alone, and a grid of everything that the published grids mix;
# three channels double the arithmetic of CNN-s
SEED_ZOOS = {"cnn-s": "mnist-seed", "cnn-s-rgb": "stl10-small-seed", "cnn-l": "stl10-large-seed"}
MIXED_ZOOS = {"cnn-s": "mnist-hyp-10-f", "cnn-s-rgb": "stl10-small-hyp-10-f", "cnn-l": "stl10-large-hyp-10-f"}


def own_peak_memory() -> float:
    """The most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # Linux counts kilobytes


class Contender(NamedTuple):
    """A way to train. `run(seconds)` trains and gives training samples per second over all models.

    The set-up includes compiling; the peak memory is in MB.
    """

    run: Callable[[float], float]
    setup_seconds: float
    peak_memory: Callable[[], float] = own_peak_memory


def matmul_peak() -> Contender:
    """The float32 matrix product of NumPy's BLAS on all cores. Its `run` gives operations per second."""
    left = np.ones((2048, 2048), np.float32)

    def run(seconds: float) -> float:
        end = time.monotonic() + seconds
        rates = []
        while time.monotonic() < end:
            start = time.perf_counter()
            left @ left
            rates.append(2 * 2048**3 / (time.perf_counter() - start))
        return max(rates)  # the best, since it stands for what the machine can do

    return Contender(run, 0.0)


@pinned_settings()
def population(cohorts: Sequence[Cohort], engine: str, models: int, twin: TwinSpec | None = None) -> Contender:
    """A population of `models` models, or their twins, trained by an engine of jaxzoo on all cores.

    Of several cohorts, one of each kind is trained in turn. Networks so large that each fills a core are trained one
    per core, whatever `models` is.
    """
    use_all_cores()
    # cohorts with the same key run the same program, so one of them is enough
    kinds = list({cohort.key: cohort for cohort in cohorts}.values())
    start = time.monotonic()
    runs = [_cohort_run(cohort, models, engine, twin) for cohort in kinds]
    for run in runs:
        run(0.0)  # the first call compiles
    setup = time.monotonic() - start

    @pinned_settings()
    def run_all(seconds: float) -> float:
        # the rate of training as many samples of each kind: times are averaged, not rates
        rates = [run(seconds / len(runs)) for run in runs]
        return len(rates) / sum(1 / rate for rate in rates)

    return Contender(run_all, setup)


def _repeat(cohort: Cohort, models: int) -> Cohort:
    return cohort._replace(members=tuple(cohort.members[row % len(cohort.members)] for row in range(models)))


def _cohort_run(cohort: Cohort, models: int, engine: str, twin: TwinSpec | None) -> Callable[[float], float]:
    """A function that trains one slab after the other, as an epoch does, but without shuffling and evaluation."""
    mesh = model_mesh()
    fills_core = usual_lanes(cohort.key.layers, platform_of(mesh)) == 1
    lanes, steps = (1, 1) if fills_core else (LANES, STEPS)
    program = build_program(cohort.key, engine, lanes, mesh, twin)
    cohort = _repeat(cohort, program.width if fills_core else models)
    images = put_images(random_images(cohort.key.dataset), mesh)
    slabs = put_cohort(program, cohort, initial_state(initial_variables(cohort), program.method)).slabs
    orders = [program.shuffle(slab.hyperparameters[0].seed, _seen(program, slab, images), 1) for slab in slabs]

    def run(seconds: float) -> float:
        samples = 0
        start = time.monotonic()
        for index in itertools.cycle(range(len(slabs))):
            state, phases = slabs[index]
            hyperparameters = phases[0]
            tally = empty_tally(hyperparameters.numbers["learning_rate"])
            state, tally = program.train(state, tally, hyperparameters, images, orders[index], 1, 0, steps)
            jax.block_until_ready(tally)  # JAX returns before the program has run
            slabs[index] = Slab(state, phases)  # the program has taken over the memory of the old state
            samples += program.width * steps * cohort.key.batch_size
            if time.monotonic() - start >= seconds:
                break
        return samples / (time.monotonic() - start)

    return run


def _seen(program: Program, slab: Slab, images: DeviceImages) -> Seen:
    return NOTHING_SPECIAL if program.see is None else program.see(slab.hyperparameters[0], images.labels)


def typical_cohort(spec: ZooSpec) -> Cohort:
    """The first cohort of a zoo that is trained by Adam, as the reference is, else the first one."""
    cohorts = plan_zoo(spec).cohorts
    return next((cohort for cohort in cohorts if cohort.key.optimizers[0].name == "adam"), cohorts[0])


def random_images(dataset: DatasetSpec) -> Images:
    """Random images in the shape of the dataset, since the rate does not depend on what the images show."""
    draws = np.random.default_rng(0)

    def split(count: int) -> Split:
        shape = (count, dataset.size, dataset.size, dataset.channels)
        labels = draws.integers(0, dataset.classes, count, np.int32)
        return Split(draws.integers(0, 256, shape, np.uint8), labels)

    return make_images(dataset, split(dataset.train), split(dataset.validation), split(dataset.test))
