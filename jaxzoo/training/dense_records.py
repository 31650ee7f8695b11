"""The record of a zoo in its folder: begun, gone on with, or grown."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from jax.sharding import Mesh

from jaxzoo.datasets import Images
from jaxzoo.devices import platform_of
from jaxzoo.models.engines import kernels_of
from jaxzoo.models.modules import fixed_logits
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.plan import Plan
from jaxzoo.spec.stages import only_stage
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.growth import grow_zoo, growth_text
from jaxzoo.storage.licence import state_licence
from jaxzoo.storage.locks import zoo_locked
from jaxzoo.storage.modules import holding, with_module
from jaxzoo.storage.record import (
    FORMAT,
    NO_LICENCE,
    CohortRecord,
    ImagesRecord,
    ZooRecord,
    read_record,
)
from jaxzoo.storage.staging import begin_elsewhere
from jaxzoo.storage.twins_folders import twins_folders
from jaxzoo.storage.zoo_folder import begin_zoo, members_digest
from jaxzoo.training.checks import check_examples
from jaxzoo.training.events import Event, Notice
from jaxzoo.training.fitting import check_memory, fit_cohorts
from jaxzoo.training.forms import with_form
from jaxzoo.training.job import Job
from jaxzoo.training.maker import maker_of
from jaxzoo.training.steps import DeviceImages
from jaxzoo.training.tuning import choose_ways
from jaxzoo.training.twin_records import card_of

OnEvent = Callable[[Event], None]


def begin_or_go_on(
    job: Job,
    images: Mapping[DatasetSpec, Images],
    on_device: Callable[[DatasetSpec], DeviceImages],
    mesh: Mesh,
    on_event: OnEvent,
) -> tuple[ZooRecord, Plan]:
    """The record of the zoo, which is begun, or grown, where the job asks for that."""
    if job.begun is not None:
        check_fingerprints(job.begun, images, job.folder)
    check_examples(job.plan.spec, images.values())
    if job.begun is None:
        record, plan = _begin_dense(job, images, on_device, mesh, on_event)
        record, plan = begin_elsewhere(job.folder, job.target, record, plan)
    else:
        check_memory(job, job.begun, mesh)
        record = job.begun if job.wanted is None else _grow(job, job.wanted, on_event)
        plan = record.plan
    return _under_licence(job.folder, record, job.licence), plan


def check_fingerprints(record: ZooRecord, images: Mapping[DatasetSpec, Images], folder: Path) -> None:
    """Raises InputError for images that are not those of the zoo in a folder."""
    for dataset, own in images.items():
        own.check_fingerprint(record.fingerprints[dataset.name], folder)


def _begin_dense(
    job: Job,
    images: Mapping[DatasetSpec, Images],
    on_device: Callable[[DatasetSpec], DeviceImages],
    mesh: Mesh,
    on_event: OnEvent,
) -> tuple[ZooRecord, Plan]:
    """Chooses how a new zoo is trained, and writes its record."""

    def note(text: str) -> None:
        on_event(Notice(text))

    job = with_form(job, mesh, note)
    ways = choose_ways(job, on_device, mesh, note)
    plan = fit_cohorts(job, ways, mesh, note)
    choices = [ways[cohort.key.layers] for cohort in plan.cohorts]
    form, platform = plan.form, platform_of(mesh)
    network = plan.spec.network
    record = ZooRecord(
        spec=plan.spec,
        stages=only_stage(plan.spec),
        cohorts=tuple(
            CohortRecord(engine=way.engine, lanes=way.lanes, form=form, kernels=kernels_of(way.engine, platform))
            for way in choices
        ),
        images=tuple(_images_record(dataset.name, own) for dataset, own in images.items()),
        made=maker_of(mesh),
        members=members_digest(plan.members),
        timed=choices[0].timed if len(ways) == 1 else None,
        kept=job.kept,
        licence=job.licence or NO_LICENCE,
        logits=None if network is None else fixed_logits(network, plan.spec.image_shape),
    )
    record, plan = begin_zoo(job.folder, record, plan, card_of(plan, record))
    if record.spec.network is None or network is record.spec.network:
        return record, plan
    record = with_module(job.folder, record, network)  # another process began it
    return record, record.plan


def _images_record(name: str, images: Images) -> ImagesRecord:
    normalised = {"mean": tuple(images.mean.tolist()), "std": tuple(images.std.tolist())}
    return ImagesRecord(name=name, fingerprint=images.fingerprint, **normalised)


def _grow(job: Job, wanted: ZooSpec, on_event: OnEvent) -> ZooRecord:
    """Writes the stage that a call adds to a zoo. All was checked before: from here on the zoo has it."""
    before = read_record(job.folder)
    record = holding(grow_zoo(job.folder, wanted, card_of), wanted.network)
    text = growth_text(before, record.spec)
    if text:
        on_event(Notice(f"{job.folder}: grows: {text}"))
    return record


def _under_licence(folder: Path, record: ZooRecord, licence: str | None) -> ZooRecord:
    """The record under another licence, which the zoo and the twins in its folder then say; None changes nothing."""
    if licence is None:
        return record
    for path in (*twins_folders(folder).values(), folder):
        if read_record(path).licence != licence:
            with zoo_locked(folder):
                state_licence(path, licence)
    return dataclasses.replace(record, licence=licence)


def tell_format(record: ZooRecord, folder: Path, on_event: OnEvent) -> None:
    """A line where a zoo is of an earlier format."""
    if record.format < FORMAT:
        on_event(
            Notice(f"{folder}: is of format {record.format}: its snapshots carry no identity that could be checked")
        )
