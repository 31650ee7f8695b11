"""How a zoo grows: its stages, of which each has all members and epochs of the one before it, and more."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxzoo.errors import InputError
from jaxzoo.spec.draws import Draws
from jaxzoo.spec.fields import LATER
from jaxzoo.spec.zoo_spec import ZooSpec, spec_differences

MOST_STAGES = 1000  # each of them is planned whenever the zoo is opened


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A choice of members and epochs. A zoo that grows has several: only these may grow.

    `models` is None for all that the spec gives. `last_seed` is that of a range of seeds, `seed_count` how many are
    drawn for each point. `draws` is the number of points that are drawn, None for a grid and for a table.
    """

    models: int | None
    epochs: int
    last_seed: int | None
    seed_count: int | None
    draws: int | None = field(default=None, metadata=LATER)


def stage_of(spec: ZooSpec) -> Stage:
    """The choice that a spec makes."""
    return Stage(
        models=spec.models,
        epochs=spec.epochs,
        last_seed=None if spec.seeds is None else spec.seeds.last,
        seed_count=None if spec.drawn_seeds is None else spec.drawn_seeds.count,
        draws=None if spec.draws is None else spec.draws.models,
    )


def only_stage(spec: ZooSpec) -> tuple[Stage, ...]:
    """The stages of a zoo that has not grown."""
    return (stage_of(spec),)


def choosing(spec: ZooSpec, stage: Stage) -> ZooSpec:
    """The spec with the members of a stage. The epochs stay: every member is trained to the zoo's last one."""
    last, count = stage.last_seed, stage.seed_count
    return dataclasses.replace(
        spec,
        models=stage.models,
        seeds=None if spec.seeds is None or last is None else dataclasses.replace(spec.seeds, last=last),
        drawn_seeds=(
            None if spec.drawn_seeds is None or count is None else dataclasses.replace(spec.drawn_seeds, count=count)
        ),
        draws=_with_models(spec.draws, stage.draws),
    )


def _with_models(draws: Draws | None, models: int | None) -> Draws | None:
    return draws if draws is None or models is None else dataclasses.replace(draws, models=models)


def check_stages(spec: ZooSpec, stages: Sequence[Stage]) -> None:
    """Raises InputError unless every stage has more than the one before it, and the last one is that of the spec."""
    if not stages or stages[-1] != stage_of(spec):
        got = stages[-1] if stages else "none"
        raise InputError(f"stages: the last one is {got}, expected {stage_of(spec)} of the spec")
    if len(stages) > MOST_STAGES:
        raise InputError(f"stages: {len(stages)} are given, expected at most {MOST_STAGES}")
    for stage in stages:
        known = dataclasses.replace(stage_of(choosing(spec, stage)), epochs=max(1, stage.epochs))
        if stage != known:
            raise InputError(f"stages: one is {stage}, expected one of the spec such as {known}")
    for earlier, later in itertools.pairwise(stages):
        lengthened = what_fixes_length(spec) != "" and later.epochs != earlier.epochs
        if later == earlier or _both(earlier, later) != later or lengthened:
            raise InputError(f"stages: {later} follows {earlier}, expected more models, seeds or epochs, and none less")


def what_fixes_length(spec: ZooSpec) -> str:
    """What depends on a zoo's epochs, as the beginning of a sentence; "" where the zoo may get more of them."""
    if spec.schedule.depends_on_length:
        return f"a schedule of kind {spec.schedule.kind!r} depends on"
    if spec.snapshots is not None and spec.snapshots.log_spaced is not None:
        return "log-spaced steps depend on"
    return ""


def other_zoo(begun: ZooSpec, wanted: ZooSpec) -> str:
    """What makes two specs those of different zoos, whatever either may grow by; "" for the same zoo.

    Its epochs are among that where something depends on them (see `what_fixes_length`).
    """
    same_range = begun.seeds and wanted.seeds and begun.seeds.first == wanted.seeds.first
    same_draw = begun.drawn_seeds and wanted.drawn_seeds and begun.drawn_seeds.below == wanted.drawn_seeds.below
    alike = dataclasses.replace(
        wanted,
        models=begun.models,
        epochs=wanted.epochs if what_fixes_length(begun) else begun.epochs,
        seeds=begun.seeds if same_range else wanted.seeds,
        drawn_seeds=begun.drawn_seeds if same_draw else wanted.drawn_seeds,
        draws=_with_models(wanted.draws, None if begun.draws is None else begun.draws.models),
    )
    return spec_differences(begun, alike)


def grown_spec(begun: ZooSpec, wanted: ZooSpec) -> ZooSpec:
    """`begun` with the larger of both's models, seeds and epochs: `begun` itself where it has all that is wanted.

    A longer zoo makes twins by default as the longer spec says, whose twins may have more epochs. Both are of the same
    zoo (see `other_zoo`).
    """
    stage = _both(stage_of(begun), stage_of(wanted))
    if stage == stage_of(begun):
        return begun
    twins = wanted.twins if stage.epochs > begun.epochs else begun.twins
    return dataclasses.replace(choosing(begun, stage), epochs=stage.epochs, twins=twins)


def _both(first: Stage, second: Stage) -> Stage:
    """The least stage that has all of both."""
    models = None if first.models is None or second.models is None else max(first.models, second.models)
    return Stage(
        models=models,  # None is the most: all
        epochs=max(first.epochs, second.epochs),
        last_seed=_larger(first.last_seed, second.last_seed),
        seed_count=_larger(first.seed_count, second.seed_count),
        draws=_larger(first.draws, second.draws),
    )


def _larger(first: int | None, second: int | None) -> int | None:
    """The larger number; seeds are a range or a draw, and have no number of the other kind."""
    return None if first is None or second is None else max(first, second)
