"""What zoos take on hardware that need not be here: cohorts, memory, time and disk. Nothing is trained or compiled."""

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxzoo.bench.device_rates import Found, Rate, Way, dense_rates, twin_rate
from jaxzoo.bench.hardware import Hardware
from jaxzoo.models.engines import engines_for, usual_lanes, usual_way
from jaxzoo.spec.layers import Layers
from jaxzoo.spec.plan import Cohort, CohortKey, Plan, plan_zoo
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.training.checks import space_of
from jaxzoo.training.forms import COSTS, formed
from jaxzoo.training.job import Job
from jaxzoo.training.memory import FLOAT_BYTES, slab_bytes
from jaxzoo.training.programs import values_of_image
from jaxzoo.training.tuning import MOST_MEASURED

# of the arithmetic of a training sample: forward pass, gradient by kernel, gradient by input
EVALUATION = 1 / 3
WORTH = 0.9  # of the time: for less, a cohort is not kept on one device, since that takes a process for each of them


class Seconds(NamedTuple):
    """What cohorts take on their devices, and what their twins take after them."""

    zoo: float
    twins: float

    @property
    def both(self) -> float:
        """One after the other."""
        return self.zoo + self.twins


class Layout(NamedTuple):
    """A zoo with each cohort spread over `team` devices: its plan, and how cohorts are computed by architecture.

    `cohorts` are the seconds of each, None where a kind of them has no rate. `found` are the rates that they come from.
    """

    team: int
    plan: Plan
    ways: Mapping[Layers, Way]
    cohorts: Sequence[Seconds] | None
    found: Sequence[Found]


class Estimate(NamedTuple):
    """What a zoo takes on all of the hardware: `seconds` of the devices that work longest, None where no rate is known.

    `memory` has the bytes of a device. `work` are the seconds of all devices together.
    """

    layout: Layout
    seconds: Seconds | None
    work: float
    memory: float
    disk: int
    files: int


def layouts_of(
    spec: ZooSpec, hardware: Hardware, rates: Sequence[Rate], twin: TwinSpec | None = None
) -> dict[int, Layout]:
    """By the devices that a cohort is spread over, how a zoo is trained, and its twins if there are any."""
    job = Job(Path(), plan_zoo(spec), None, None, twin)
    platform = hardware.kind.platform
    return {team: _layout(formed(job, platform, team).plan, team, hardware, rates, twin) for team in hardware.layouts}


def _layout(plan: Plan, team: int, hardware: Hardware, rates: Sequence[Rate], twin: TwinSpec | None) -> Layout:
    platform = hardware.kind.platform
    mixed = len({cohort.key for cohort in plan.cohorts}) > 1
    slower = COSTS[platform].slower[len(plan.form)]
    ways: dict[Layers, Way] = {}
    found: list[Found] = []
    seconds: dict[int, Seconds] = {}
    architectures = _by_architecture(plan)
    unmeasured = "architecture" in plan.spec.declared and (platform == "cpu" or len(architectures) > MOST_MEASURED)
    for layers, cohorts in architectures.items():
        key = cohorts[0].key
        usual = _usual_way(plan, layers, cohorts, platform)
        known = dense_rates(key, rates, mixed=mixed)
        if unmeasured:  # as `choose_ways` has it
            known = {way: rate for way, rate in known.items() if way == usual}
        if not known:
            ways[layers] = usual
            continue
        # what trains fastest; twins are computed as their parents are
        way = min(known, key=lambda each: _dense_seconds(plan, cohorts, each, team, known[each]))
        ways[layers], dense = way, known[way]
        after = None if twin is None else twin_rate(key, way, dense, twin.method, rates)
        found += [dense] if after is None else [dense, after]
        for cohort in cohorts:
            models = slower * _models_each(cohort, way, team)
            of_twins = 0.0
            if twin is not None and after is not None:
                of_twins = models * _seconds_each(cohort, twin.length, after, dense)
            seconds[cohort.number] = Seconds(models * _seconds_each(cohort, plan.spec.epochs, dense, dense), of_twins)
    whole = len(seconds) == len(plan.cohorts)
    return Layout(team, plan, ways, [seconds[each.number] for each in plan.cohorts] if whole else None, found)


def _usual_way(plan: Plan, layers: Layers, cohorts: Sequence[Cohort], platform: str) -> Way:
    """The engine and the lanes of an architecture where nothing is measured."""
    precision = plan.spec.precision
    if "architecture" in plan.spec.declared:
        return usual_way(layers, precision, max(len(cohort.members) for cohort in cohorts), platform)
    return engines_for(layers, precision)[0], usual_lanes(layers, platform)


def _by_architecture(plan: Plan) -> dict[Layers, list[Cohort]]:
    cohorts: dict[Layers, list[Cohort]] = {}
    for cohort in plan.cohorts:
        cohorts.setdefault(cohort.key.layers, []).append(cohort)
    return cohorts


def _dense_seconds(plan: Plan, cohorts: Iterable[Cohort], way: Way, team: int, rate: Found) -> float:
    return sum(_models_each(each, way, team) * _seconds_each(each, plan.spec.epochs, rate, rate) for each in cohorts)


def _models_each(cohort: Cohort, way: Way, team: int) -> int:
    """The models of a cohort that each device of a team computes, with the copies that fill its last lanes."""
    lanes = way[1]
    return math.ceil(len(cohort.members) / (lanes * team)) * lanes


def _seconds_each(cohort: Cohort, epochs: int, trained: Found, evaluated: Found) -> float:
    """Seconds of a device for each model of a cohort, to be trained at one rate and evaluated at another.

    All images are evaluated before the first epoch, those of validation and test after each.
    """
    data = cohort.key.dataset
    images = epochs * (data.validation + data.test) + data.train + data.validation + data.test
    training = epochs * cohort.most_seen / trained.samples_per_s
    return training + EVALUATION * images / evaluated.samples_per_s


def best_of(layouts: Mapping[int, Sequence[Layout]], hardware: Hardware) -> tuple[int, Seconds | None]:
    """The devices to spread each cohort over so that all zoos together are done soonest, and the seconds of that.

    `layouts` has, by those devices, that of each zoo; without rates the first choice is taken.
    """
    teams = [*layouts]
    done = {team: _busiest(layouts[team], hardware.devices // team) for team in teams}
    best = teams[0]
    for team in teams[1:]:
        before, after = done[best], done[team]
        if before is not None and after is not None and after.both < WORTH * before.both:
            best = team
    return best, done[best]


def _busiest(layouts: Iterable[Layout], workers: int) -> Seconds | None:
    """The cohorts shared out, the longest first to whoever is free first; what the busiest worker has to do."""
    cohorts: list[Seconds] = []
    for layout in layouts:
        if layout.cohorts is None:
            return None
        cohorts += layout.cohorts
    cohorts.sort(key=lambda each: -each.both)
    free = [(0.0, number, 0.0) for number in range(min(workers, len(cohorts)))]
    for cohort in cohorts:
        both, number, zoo = free[0]
        heapq.heapreplace(free, (both + cohort.both, number, zoo + cohort.zoo))
    both, _, zoo = max(free)
    return Seconds(zoo, both - zoo)


def estimate_of(
    layouts: Mapping[int, Layout], hardware: Hardware, twin: TwinSpec | None, kept: tuple[int, ...] | None
) -> Estimate:
    """What a zoo takes alone on all of the hardware, in the better of its layouts."""
    team, seconds = best_of({team: [layout] for team, layout in layouts.items()}, hardware)
    layout = layouts[team]
    parts = space_of(Job(Path(), layout.plan, None, None, twin, kept))
    return Estimate(
        layout=layout,
        seconds=seconds,
        work=team * sum(each.both for each in layout.cohorts or ()),
        memory=max(_memory(layout, cohort, hardware, twin) for cohort in _largest(layout.plan)),
        disk=sum(part.total for part in parts),
        files=sum(part.files for part in parts),
    )


def _largest(plan: Plan) -> Iterable[Cohort]:
    """The largest cohort of each kind."""
    largest: dict[CohortKey, Cohort] = {}
    for cohort in plan.cohorts:
        if cohort.key not in largest or len(cohort.members) > len(largest[cohort.key].members):
            largest[cohort.key] = cohort
    return largest.values()


def _memory(layout: Layout, cohort: Cohort, hardware: Hardware, twin: TwinSpec | None) -> float:
    """Bytes of a device: the images, the states of its models or of their twins, and the activations of a batch."""
    key, data = cohort.key, cohort.key.dataset
    way = layout.ways[key.layers]
    images = (data.train + data.validation + data.test) * (math.prod(data.image_shape) + FLOAT_BYTES)
    shared = layout.team if hardware.kind.platform == "cpu" else 1  # the devices of a CPU share one copy
    models = _models_each(cohort, way, layout.team)
    states = max(slab_bytes(key, models, each) for each in {None, twin})
    return images / shared + states + FLOAT_BYTES * way[1] * key.batch_size * values_of_image(key)
