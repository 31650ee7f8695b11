"""The record of the twins in a zoo's folder: begun, gone on with, grown as their zoo has, or begun anew."""

import dataclasses
from pathlib import Path

from jax.sharding import Mesh

from jaxzoo.devices import platform_of
from jaxzoo.errors import InputError
from jaxzoo.models.variables import parameter_count
from jaxzoo.spec.plan import Plan
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.card import zoo_card
from jaxzoo.storage.growth import grown_twins, replace_description, ways_of_twins
from jaxzoo.storage.locks import zoo_locked
from jaxzoo.storage.record import FORMAT, Parent, ZooRecord, read_record
from jaxzoo.storage.retention import kept_of_twins
from jaxzoo.storage.twins_folders import check_parent, make_room, of_earlier_epoch
from jaxzoo.storage.zoo_folder import begin_zoo, find_record, members_digest, twins_folder
from jaxzoo.training.maker import maker_of


def begin_twins(folder: Path, parent: ZooRecord, twin: TwinSpec, mesh: Mesh) -> ZooRecord:
    """The record of the twins in a zoo's folder, which is written where there is none, or where it is to grow.

    Twins of an earlier epoch of the zoo are renamed first. `parent` is the zoo as the caller knows it. Raises
    InputError where it has got more epochs since, and where the twins are of another zoo.
    """
    twins = twins_folder(folder, twin.method)
    with zoo_locked(folder):
        now = read_record(folder)
        if now.epochs != parent.epochs:
            raise InputError(f"{folder}: has got {now.epochs} epochs meanwhile, expected {parent.epochs} as it had")
        begun = find_record(twins)
        if begun is not None:
            check_parent(folder, begun, now)
            if not of_earlier_epoch(begun, now):
                return _as_many_as(now, begun, twins)
            make_room(folder, begun)
        record = dataclasses.replace(
            now,
            twin=twin,
            cohorts=ways_of_twins(now.cohorts, twin, platform_of(mesh)),
            parent=Parent(digest=now.spec.digest, epoch=now.epochs),
            kept=kept_of_twins(now.kept, twin),
            made=maker_of(mesh),
            members=members_digest(now.plan.members),
            format=FORMAT,
        )
        return begin_zoo(twins, record, record.plan, card_of(record.plan, record))[0]


def check_still(twins: Path, record: ZooRecord) -> None:
    """Raises InputError where another process has begun these twins anew, of a later epoch of their zoo."""
    begun = find_record(twins)
    made_of = [None if each is None or each.parent is None else each.parent.epoch for each in (begun, record)]
    if made_of[0] != made_of[1]:
        raise InputError(f"{twins}: another process makes them of a later epoch, expected that of this call")


def card_of(plan: Plan, record: ZooRecord) -> str:
    """The card of a zoo, or of twins."""
    spec = plan.spec
    parameters = {parameter_count(spec.layers_named(name), spec.dataset) for name in spec.architecture_names}
    return zoo_card(plan, sorted(parameters), record.kept, record.twin, record.licence)


def _as_many_as(parent: ZooRecord, begun: ZooRecord, twins: Path) -> ZooRecord:
    """The record of twins that have a row for every model of their zoo."""
    if begun.stages == parent.stages:
        return begun
    record = grown_twins(begun, parent)
    replace_description(twins, record, card_of)
    return record
