"""What of a call can be told before anything is trained or written: which zoo is meant, and what is wrong with it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jaxzoo.datasets import Images
from jaxzoo.errors import InputError
from jaxzoo.models.engines import ENGINES, engines_for
from jaxzoo.spec.layers import Dropout, architecture_layers, each_layer
from jaxzoo.spec.plan import Cohort, Plan, plan_zoo, population_size
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec
from jaxzoo.storage.cohort_store import (
    ZooRecord,
    cohort_folder,
    find_record,
    read_record,
    snapshot_epochs,
    twins_folder,
)
from jaxzoo.storage.retention import ALL, Keep, check_space, kept_epochs

AUTO = "auto"
NO_TWINS = "none"


def choose_twins(spec: ZooSpec, twins: str | TwinSpec | None) -> TwinSpec | None:
    """How twins are made: as given, by a method with the spec's settings, or as the spec says. Raises InputError."""
    if twins is None:
        return spec.twins
    if isinstance(twins, TwinSpec):
        return twins
    return None if twins == NO_TWINS else dataclasses.replace(spec.twins, method=twins)


def restrict(spec: ZooSpec, *, models: int | None = None, epochs: int | None = None) -> ZooSpec:
    """The spec with another number of models or epochs. Raises InputError for more models than the grid gives."""
    spec = dataclasses.replace(
        spec,
        models=spec.models if models is None else models,
        epochs=spec.epochs if epochs is None else epochs,
    )
    most = population_size(spec)
    if spec.models is not None and spec.models > most:
        raise InputError(
            f"zoo {spec.name!r}: models is {spec.models}, expected 1..{most}, what its grid and seeds give"
        )
    return spec


def choose_cohorts(plan: Plan, cohorts: range | None) -> Sequence[Cohort]:
    """The cohorts of a range of numbers, all without one. Raises InputError for numbers that are not there."""
    if cohorts is None:
        return plan.cohorts
    if not 0 <= cohorts.start < cohorts.stop <= len(plan.cohorts):
        got = f"{cohorts.start}:{cohorts.stop}"
        raise InputError(f"zoo {plan.spec.name!r}: cohorts are {got}, expected a part of 0:{len(plan.cohorts)}")
    return plan.cohorts[cohorts.start : cohorts.stop]


def check_call(
    spec: ZooSpec,
    folder: Path,
    *,
    engine: str | None,
    lanes: int | None,
    cohorts: range | None,
    twin: TwinSpec | None,
    keep_epochs: Keep | None,
) -> ZooRecord | None:
    """What of a call can be checked in an instant, before images are loaded; returns the zoo begun in the folder.

    Raises InputError.
    """
    kept = kept_epochs(keep_epochs or ALL, spec.epochs)
    check_trainable(spec, engine)
    begun = find_record(folder)
    chosen = choose_cohorts(plan_zoo(spec if begun is None else begun.spec), cohorts)
    _check_engine(folder, begun, engine, lanes)
    if begun is not None:
        _check_same_spec(folder, begun.spec, spec)
        if keep_epochs is not None and kept != begun.kept:
            raise InputError(f"{folder}: was begun with kept epochs {begun.kept}, got {kept}, expected the same")
        kept = begun.kept
    if twin is not None:
        _check_twins(folder, twin)
    check_space(folder, spec, sum(len(cohort.members) for cohort in chosen), kept, twin)
    return begun


def check_trainable(spec: ZooSpec, engine: str | None) -> None:
    """Raises InputError for what the zoo's network does not have."""
    layers = each_layer(architecture_layers(spec.architecture))
    if any(spec.grid.dropout) and not any(isinstance(layer, Dropout) for layer in layers):
        raise InputError(f"zoo {spec.name!r}: dropout is {spec.grid.dropout}, expected 0: {spec.architecture} has none")
    known = engines_for(spec.architecture, spec.precision)
    if engine in ENGINES and engine not in known:
        what = f"{spec.architecture} in {spec.precision}"
        raise InputError(f"zoo {spec.name!r}: engine is {engine!r}, expected {' or '.join(known)} for {what}")


def check_parent(folder: Path, twin: TwinSpec, cohorts: range | None) -> ZooRecord:
    """The record of a zoo of which twins can be made. Raises InputError."""
    record = read_record(folder)
    if record.twin is not None:
        raise InputError(f"{folder}: is a zoo of twins, expected a dense one")
    for cohort in choose_cohorts(plan_zoo(record.spec), cohorts):
        epochs = snapshot_epochs(cohort_folder(folder, cohort.number))
        if record.spec.epochs not in epochs:
            got = f"epochs up to {epochs[-1]}" if epochs else "no epoch"
            raise InputError(
                f"{folder}: cohort {cohort.number} holds {got}, expected it finished ({record.spec.epochs})"
            )
    _check_twins(folder, twin)
    return record


def check_same_images(folder: Path, begun: ZooRecord, images: Images) -> None:
    if begun.fingerprint != images.fingerprint:
        raise InputError(
            f"{folder}: was begun on images of fingerprint {begun.fingerprint[:12]}, got {images.fingerprint[:12]}"
        )


def _check_twins(folder: Path, twin: TwinSpec) -> None:
    """Raises InputError where twins of that method are there under another setting."""
    place = twins_folder(folder, twin.method)
    begun = find_record(place)
    if begun is not None and (begun.twin is None or begun.twin.used != twin.used):
        raise InputError(f"{place}: was begun as {begun.twin}, got {twin}, expected the same")


def _check_engine(folder: Path, begun: ZooRecord | None, engine: str | None, lanes: int | None) -> None:
    if engine not in (None, AUTO, *ENGINES):
        raise InputError(f"engine is {engine!r}, expected one of: {', '.join((AUTO, *ENGINES))}")
    if lanes is not None and lanes < 1:
        raise InputError(f"lanes is {lanes}, expected 1 or more")
    if lanes is not None and engine == AUTO:
        raise InputError(f"lanes is {lanes} and engine 'auto', which chooses the lanes; expected one of the two")
    if begun is None:
        return
    if engine not in (None, AUTO, begun.engine):
        raise InputError(f"{folder}: was begun with engine {begun.engine!r}, got {engine!r}, expected the same")
    if lanes not in (None, begun.lanes):
        raise InputError(f"{folder}: was begun with {begun.lanes} lanes, got {lanes}, expected the same")


def _check_same_spec(folder: Path, begun: ZooSpec, wanted: ZooSpec) -> None:
    if begun.digest == wanted.digest:
        return
    differing = [
        f"{field.name} {getattr(begun, field.name)!r}, got {getattr(wanted, field.name)!r}"
        for field in dataclasses.fields(ZooSpec)
        if field.name not in ("twins", "cohort_size") and getattr(begun, field.name) != getattr(wanted, field.name)
    ]
    raise InputError(f"{folder}: holds another zoo: {'; '.join(differing)}; expected the same or another folder")
