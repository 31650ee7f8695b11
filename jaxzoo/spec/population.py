"""Whom a spec chooses: points of a grid, draws or rows of a table, each with its seeds, stage by stage."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxzoo.spec.grid import HYPERPARAMETERS
from jaxzoo.spec.seeds import SEED_LIMIT, SeedDraw
from jaxzoo.spec.stages import Stage, choosing
from jaxzoo.spec.zoo_spec import ZooSpec

GridPoint = Mapping[str, Any]  # a value of every hyperparameter, in the order of HYPERPARAMETERS, then FACTORS
Chosen = tuple[int, GridPoint]  # a seed and a point


def additions(spec: ZooSpec, stages: Sequence[Stage]) -> Iterator[list[Chosen]]:
    """Yields for every stage what its choice has beyond all before it, in the order of the choice."""
    held: Counter[tuple[Any, ...]] = Counter()
    for stage in stages:
        at_stage = choosing(spec, stage)
        left, added = held.copy(), []
        for seed, point in _choose(at_stage, _population(at_stage)):
            identity = (seed, *point.values())
            if left[identity]:  # counted, for a choice may have two members that are alike
                left[identity] -= 1
            else:
                added.append((seed, point))
                held[identity] += 1
        yield added


class _Candidate(NamedTuple):
    """A member that a spec may have: `nth` is the number of its seed among those of its point, `number` the point's."""

    point: GridPoint
    seed: int
    nth: int
    number: int


def _population(spec: ZooSpec) -> list[_Candidate]:
    """Every member that the spec gives, points outermost."""
    return [
        _Candidate(point, seed, nth, number)
        for number, point in enumerate(spec.source.points())
        for nth, seed in enumerate(_seeds(spec, point, number))
    ]


def _choose(spec: ZooSpec, population: list[_Candidate]) -> list[Chosen]:
    """The seed and the point of those that `spec.models` keeps."""
    if spec.models is None:
        return [(candidate.seed, candidate.point) for candidate in population]
    spread = spec.grid is not None
    ranks = [(each.nth, point_hash(each.point) if spread else each.number) for each in population]
    kept = sorted(range(len(population)), key=ranks.__getitem__)[: spec.models]
    return [(population[index].seed, population[index].point) for index in sorted(kept)]


def _seeds(spec: ZooSpec, point: GridPoint, number: int) -> tuple[int, ...]:
    """The seeds of a point: a table says its own, those of a draw are drawn along with it unless the spec says more."""
    if spec.points is not None:
        return (spec.points.seeds[number],)
    if spec.seeds is not None:
        return tuple(range(spec.seeds.first, spec.seeds.last + 1))
    origin = f"{spec.dataset.name} {spec.architecture or ''} {point_hash(point)}"
    if spec.draws is not None:  # two draws may be alike
        origin = f"{spec.draws.seed} {number} seed"
    return _draw_seeds(spec.drawn_seeds or SeedDraw(count=1, below=SEED_LIMIT), origin)


def _draw_seeds(draw: SeedDraw, origin: str) -> tuple[int, ...]:
    """Different seeds from a hash, which gives the same ones on every machine and in every version."""
    seeds: dict[int, None] = {}
    for trial in itertools.count():
        if len(seeds) == draw.count:
            return tuple(seeds)
        digest = hashlib.sha256(f"{origin} {trial}".encode()).digest()
        seeds[int.from_bytes(digest[:8], "big") % draw.below] = None
    raise AssertionError("unreachable")


def point_hash(point: GridPoint) -> str:
    """A hash of the hyperparameters of every zoo, and of (name, value) of factors, of which most zoos have none."""
    values = [point[name] for name in HYPERPARAMETERS]
    factors = [item for item in point.items() if item[0] not in HYPERPARAMETERS]
    return hashlib.sha256(repr((*values, *factors)).encode()).hexdigest()
