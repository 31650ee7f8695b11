"""What a first run on a device has to show: that its numbers are right, and that law 3 holds there.

Law 3: the bits of a member do not depend on its company, nor on where training was cut. How fast the device is, is
measured in `candidates`.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxzoo.bench.candidates import COMPILE_ERRORS, OnRun, Way, published_cohort, way_name
from jaxzoo.bench.contenders import MIXED_ZOOS, SEED_ZOOS, random_images, typical_cohort
from jaxzoo.datasets.images import Images
from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.devices import AXIS, Spread, model_mesh, over_models, platform_of, put_copies, put_lanes
from jaxzoo.errors import InputError, first_line
from jaxzoo.models.engines import population_forward
from jaxzoo.models.networks import Params
from jaxzoo.models.tally import empty_tally
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.config import load_spec
from jaxzoo.spec.plan import Cohort, CohortKey
from jaxzoo.training.population import get_state, initial_state, initial_variables, put_cohort, put_images
from jaxzoo.training.programs import Program, build_program
from jaxzoo.training.steps import DeviceImages, State
from jaxzoo.training.tuning import candidates_for

STEPS = 20
CUTS = (7, 13)  # steps after which a run is cut in three
COMPANIES = {"alone": 1, "among 7": 7}  # beside all
MEMBERS, COMPARED = 64, 16  # members that law 3 is checked with, and those whose numbers are compared
TESTED = 64  # images
VMAP_LANES = 16

# the logits' distance, of their norm: float32 gives 8e-8 for CNN-s and 7e-7 for CNN-l, TF32 would give 3e-4
LOGITS_LIMIT = 1e-5
# the distance of weights after STEPS steps of Adam, of the way that they have moved: two engines of a CPU are up to
# 9e-4 apart, since Adam turns round where a gradient near 0 changes its sign; a wrong gradient gives a tenth or more
WEIGHTS_LIMIT = 1e-2


def ways_here(architecture: str, mesh: Mesh, *, quick: bool = False) -> tuple[Way, ...]:
    """What `--engine auto` would try on these devices, the likely best alone if `quick`, and vmap beside it.

    On a CPU vmap is what others are compared with. The compiler of a TPU takes ten minutes for it.
    """
    candidates = candidates_for(published_cohort(architecture).key, platform_of(mesh))
    ways = candidates[:1] if quick else candidates
    return ways if platform_of(mesh) in ("cpu", "tpu") else (*ways, ("vmap", VMAP_LANES))


def cpu_mesh() -> Mesh:
    """The CPU of this machine, whatever else computes here. Raises InputError where JAX was told not to use it."""
    try:
        return model_mesh(jax.devices("cpu"))
    except RuntimeError as error:
        wanted = "cpu in JAX_PLATFORMS, too: the device is compared with it"
        raise InputError(f"JAX does not use the CPU here, expected {wanted}") from error


@pinned_settings()
def check_values(architecture: str, mesh: Mesh, ways: Sequence[Way], on_run: OnRun) -> pd.DataFrame:
    """Two rows per way: how far its logits, and its weights after 20 steps, are from those of vmap on the CPU."""
    cohort, cpu = _few(SEED_ZOOS[architecture], COMPARED), cpu_mesh()
    images = random_images(cohort.key.dataset)
    on_run(f"{architecture}: 20 steps by vmap on the CPU")
    begun = initial_state(initial_variables(cohort))
    wanted = _values(cohort, begun, ("vmap", -(-COMPARED // cpu.size)), cpu, images)
    rows: list[dict[str, Any]] = []
    for way in ways:
        on_run(f"{architecture}: 20 steps by {way_name(way)}")
        try:
            got = _values(cohort, begun, way, mesh, images)
        except COMPILE_ERRORS as error:
            rows.append(_failed(architecture, way, "values", error))
            continue
        logits = _largest_share(got.logits - wanted.logits, wanted.logits)
        moved = wanted.weights - _flat(begun.params)
        weights = _largest_share(got.weights - wanted.weights, moved)
        rows.append(_checked(architecture, way, "as on the CPU: logits", logits, LOGITS_LIMIT))
        rows.append(_checked(architecture, way, f"as on the CPU: {STEPS} steps", weights, WEIGHTS_LIMIT))
    return pd.DataFrame(rows)


@pinned_settings()
def check_company(architecture: str, mesh: Mesh, ways: Sequence[Way], on_run: OnRun) -> pd.DataFrame:
    """A row per way and circumstance: whether the bits after 20 steps are those of a run with 64 members, uncut.

    The members are of a grid, with dropout.
    """
    cohort = _few(MIXED_ZOOS[architecture], MEMBERS)
    images = put_images(random_images(cohort.key.dataset), mesh)
    begun = initial_state(initial_variables(cohort))
    rows: list[dict[str, Any]] = []
    for way in ways:
        on_run(f"{architecture}: law 3 by {way_name(way)}")
        try:
            program = build_program(cohort.key, *way, mesh)
            whole = _trained(program, cohort, begun, images)
            for check, first, cuts in _circumstances():
                part, state = _last(cohort, begun, first)
                apart = np.abs(_trained(program, part, state, images, cuts) - whole[first:]).max()
                rows.append(_checked(architecture, way, check, float(apart), 0.0))
        except COMPILE_ERRORS as error:
            rows.append(_failed(architecture, way, "law 3", error))
    return pd.DataFrame(rows)


def _circumstances() -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """What a member's bits are not to depend on: in words, the first member that is there, and where a run is cut."""
    yield "same bits: once more", 0, ()
    for words, count in COMPANIES.items():
        yield f"same bits: {words}", MEMBERS - count, ()
    yield "same bits: cut in three", 0, CUTS


def _last(cohort: Cohort, state: State, first: int) -> tuple[Cohort, State]:
    """The members of a cohort from the first one given on, and their state."""
    part = cohort._replace(members=cohort.members[first:])
    return part, jax.tree.map(lambda leaf: leaf[first:], state)


class _Values(NamedTuple):
    """Logits (models, N * classes) and weights (models, D)."""

    logits: np.ndarray
    weights: np.ndarray


def _values(cohort: Cohort, begun: State, way: Way, mesh: Mesh, images: Images) -> _Values:
    """The logits of untrained models, and their weights after 20 steps."""
    program = build_program(cohort.key, *way, mesh)
    logits = _logits(cohort.key, way, mesh, begun.params, images.normalised("test"))
    return _Values(logits, _trained(program, cohort, begun, put_images(images, mesh)))


def _logits(key: CohortKey, way: Way, mesh: Mesh, params: Params, images_NHWC: np.ndarray) -> np.ndarray:
    """The logits of as many models as there are, (models, N * classes), in evaluation mode."""
    engine, lanes = way
    forward = population_forward(
        engine, key.layers, key.dataset.classes, key.activations, key.precision, platform_of(mesh)
    )
    compute = over_models(
        mesh,
        "logits",
        lambda params_M, images: forward(params_M, {}, images[..., None], None, None, None)[0],
        (Spread.MODELS, Spread.COPIES),
        lambda *_: P(None, None, AXIS),
    )
    images, count, width = put_copies(mesh, images_NHWC), len(jax.tree.leaves(params)[0]), lanes * mesh.size
    slabs = []
    for first in range(0, count, width):
        rows = np.minimum(np.arange(first, first + width), count - 1)  # the last model fills up the last slab
        params_M = jax.tree.map(functools.partial(put_lanes, mesh, rows), params)
        slabs.append(jax.device_get(compute(params_M, images)))
    logits_NOM = np.concatenate(slabs, axis=-1)[..., :count]
    return np.moveaxis(logits_NOM, -1, 0).reshape(count, -1)


def _trained(
    program: Program, cohort: Cohort, state: State, images: DeviceImages, cuts: tuple[int, ...] = ()
) -> np.ndarray:
    """The weights (models, D) after 20 steps. Where a run is cut, its state is brought to the host and back."""
    for first, last in itertools.pairwise((0, *cuts, STEPS)):
        population = put_cohort(program, cohort, state)
        for index, slab in enumerate(population.slabs):
            hyperparameters = slab.hyperparameters[0]
            order = program.shuffle(hyperparameters.seed, NOTHING_SPECIAL, np.int32(1))
            tally = empty_tally(hyperparameters.numbers["learning_rate"])
            when = map(np.int32, (1, first, last))
            trained, _ = program.train(slab.state, tally, hyperparameters, images, order, *when)
            population.slabs[index] = slab._replace(state=trained)
        state = get_state(population)
    return _flat(state.params)


def _flat(params: Params) -> np.ndarray:
    """Weights (models, D), of parameters (models, ...)."""
    leaves = jax.tree.leaves(params)
    return np.concatenate([np.asarray(leaf).reshape(len(leaf), -1) for leaf in leaves], axis=1)


def _largest_share(apart: np.ndarray, whole: np.ndarray) -> float:
    """The norm of a difference as a share of a norm, both by model: the largest of all models."""
    return float(np.max(np.linalg.norm(apart, axis=1) / np.linalg.norm(whole, axis=1)))


def _checked(architecture: str, way: Way, check: str, largest: float, limit: float) -> dict[str, Any]:
    # not a number is never within a limit
    passed = bool(largest <= limit)
    return {
        "architecture": architecture,
        "way": way_name(way),
        "check": check,
        "largest_difference": largest,
        "limit": limit,
        "passed": passed,
        "failure": None,
    }


def _failed(architecture: str, way: Way, check: str, error: Exception) -> dict[str, Any]:
    row = _checked(architecture, way, check, float("nan"), 0.0)
    return {**row, "limit": None, "failure": first_line(error)}


def _few(name: str, count: int) -> Cohort:
    """So many members of a published zoo, from all over its typical cohort, with as few images as 20 steps need."""
    spec = load_spec(name)
    dataset = dataclasses.replace(spec.dataset, train=STEPS * spec.batch_size, validation=0, test=TESTED)
    cohort = typical_cohort(dataclasses.replace(spec, dataset=dataset))
    return cohort._replace(members=cohort.members[:: len(cohort.members) // count][:count])
