"""How the record of a zoo grows by a stage: more models, more seeds or more epochs, and nothing else.

members.msgpack and README.md are replaced first, zoo.json last. After a kill in between the zoo is what it was: readers
take a members.msgpack that begins with the members of zoo.json. The next growth writes all three again.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxzoo.errors import InputError
from jaxzoo.models.engines import kernels_of, usual_way
from jaxzoo.spec.asked import kept_with_ends
from jaxzoo.spec.plan import Plan, plan_zoo
from jaxzoo.spec.stages import grown_spec, other_zoo, stage_of, what_fixes_length
from jaxzoo.spec.tables import differences
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.files import reason, write_whole
from jaxzoo.storage.locks import zoo_locked
from jaxzoo.storage.record import FORMAT, CohortRecord, Parent, ZooRecord, read_record
from jaxzoo.storage.store_paths import AnyPath
from jaxzoo.storage.zoo_folder import members_digest, members_file

Card = Callable[[Plan, ZooRecord], str]


def grown_record(folder: AnyPath, begun: ZooRecord, wanted: ZooSpec) -> ZooRecord:
    """The record of a begun zoo that has all that is wanted; `begun` itself where it does already.

    The cohorts that a stage adds are computed as the others of the zoo. Raises InputError for a spec of another zoo,
    and for a zoo that cannot grow.
    """
    fixed = what_fixes_length(begun.spec)
    if fixed and wanted.epochs > begun.spec.epochs:
        kept = dataclasses.replace(wanted, epochs=begun.spec.epochs)
        if not other_zoo(begun.spec, kept):
            raise InputError(
                f"{folder}: epochs is {begun.spec.epochs}, got {wanted.epochs}: {fixed} how many there are, expected "
                "the same or another folder"
            )
    differing = other_zoo(begun.spec, wanted)
    if differing:
        raise InputError(f"{folder}: holds another zoo: {differing}; expected the same or another folder")
    spec = grown_spec(begun.spec, wanted)
    if spec is begun.spec:
        return begun
    if begun.format < FORMAT:
        raise InputError(
            f"{folder}: is of format {begun.format}, which cannot grow: {growth_text(begun, spec, 'got')}; "
            "expected the same or another folder"
        )
    stages = (*begun.stages, stage_of(spec))
    plan = plan_zoo(spec, stages, begun.form)
    return dataclasses.replace(
        begun,
        spec=spec,
        stages=stages,
        cohorts=(*begun.cohorts, *_added_ways(begun, plan)),
        members=members_digest(plan.members),
        kept=kept_with_ends(begun.kept, plan),
    )


def _added_ways(begun: ZooRecord, plan: Plan) -> list[CohortRecord]:
    """How the cohorts are computed that a stage adds: as those of their architecture, else in its usual way."""
    ways = {cohort.key.layers: way for cohort, way in zip(begun.plan.cohorts, begun.cohorts, strict=True)}
    added, platform = [], begun.made.platform or "cpu"
    for cohort in plan.cohorts[len(begun.cohorts) :]:
        layers, precision = cohort.key.layers, cohort.key.precision
        way = ways.get(layers)
        if way is None:
            engine, lanes = usual_way(layers, precision, len(cohort.members), platform)
            way = CohortRecord(engine=engine, lanes=lanes, form=begun.form)
        ways[layers] = way
        added.append(dataclasses.replace(way, kernels=kernels_of(way.engine, platform)))
    return added


def growth_text(begun: ZooRecord, spec: ZooSpec, word: str = "now") -> str:
    """What a zoo grows by, such as "models is 64, now 128"; "" where it does not."""
    return differences(stage_of(begun.spec), stage_of(spec), word)


def grow_zoo(folder: Path, wanted: ZooSpec, card: Card) -> ZooRecord:
    """Adds the stage to a begun zoo that gives it all that is wanted, if there is one, and returns its record.

    Another process may have grown the zoo since the caller looked: then this stage comes on top of that one's. Raises
    InputError, before anything is written, as `grown_record` does.
    """
    with zoo_locked(folder):
        begun = read_record(folder)
        record = grown_record(folder, begun, wanted)
        if record is not begun:
            replace_description(folder, record, card)
        return record


def grown_twins(begun: ZooRecord, parent: ZooRecord) -> ZooRecord:
    """The record of twins, made of the last epoch of a zoo, that has all members that the zoo has since."""
    assert begun.twin is not None
    platform = begun.made.platform or "cpu"
    return dataclasses.replace(
        begun,
        spec=parent.spec,
        stages=parent.stages,
        cohorts=(*begun.cohorts, *ways_of_twins(parent.cohorts[len(begun.cohorts) :], begun.twin, platform)),
        members=members_digest(parent.plan.members),
        parent=Parent(digest=parent.spec.digest, epoch=parent.epochs),
    )


def ways_of_twins(ways: Sequence[CohortRecord], twin: TwinSpec, platform: str) -> tuple[CohortRecord, ...]:
    """How the twins of cohorts are computed: as those, by kernels of their own."""
    samples = twin.method == "variational-dropout"
    return tuple(dataclasses.replace(way, kernels=kernels_of(way.engine, platform, samples=samples)) for way in ways)


def replace_description(folder: Path, record: ZooRecord, card: Card) -> None:
    """Replaces the files that describe a zoo, each whole, zoo.json last. Raises InputError where that cannot be."""
    try:
        write_whole(folder / "members.msgpack", members_file(record.plan.members))
        write_whole(folder / "README.md", card(record.plan, record).encode())
        write_whole(folder / "zoo.json", record.to_json().encode())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({reason(error)}), expected a folder that can") from error
