"""From a spec to a zoo on disk: check, load images, choose how to train, begin the record, train, open."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxzoo.compilation import compilation_cached
from jaxzoo.datasets import Images, images_at_hand, load_images
from jaxzoo.devices import model_mesh
from jaxzoo.models.networks import Variables
from jaxzoo.reading.zoo import Zoo, opened
from jaxzoo.settings import pinned_settings, under_callers_settings
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.form import Form
from jaxzoo.spec.plan import Cohort
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.identity import identity_of
from jaxzoo.storage.leases import LEASE_SECONDS
from jaxzoo.storage.mirror import Elsewhere, Mirror, Nowhere
from jaxzoo.storage.record import (
    ZooRecord,
)
from jaxzoo.storage.retention import Keep
from jaxzoo.storage.snapshots import parent_checksum, read_whole_variables
from jaxzoo.storage.zoo_folder import cohort_folder, twins_folder
from jaxzoo.training.ahead import Ahead
from jaxzoo.training.checks import check_generate, check_make_twins
from jaxzoo.training.cohort import Beginning, Run, run_cohort
from jaxzoo.training.dense_records import begin_or_go_on, check_fingerprints, tell_format
from jaxzoo.training.events import Event, Notice
from jaxzoo.training.fitting import check_memory, kinds_to_train
from jaxzoo.training.job import Job, choose_cohorts
from jaxzoo.training.maker import made_with
from jaxzoo.training.memory import Kind
from jaxzoo.training.population import initial_variables, put_images
from jaxzoo.training.processes import share_of, shared_out
from jaxzoo.training.programs import build_program
from jaxzoo.training.sharing import Work, check_unshared, share_cohorts, tell_differences
from jaxzoo.training.steps import DeviceImages
from jaxzoo.training.twin_records import begin_twins, check_still

OnEvent = Callable[[Event], None]


def generate(
    spec: ZooSpec,
    out: str | Path,
    *,
    stage: str | Path | None = None,
    models: int | None = None,
    epochs: int | None = None,
    data_dir: str | Path | None = None,
    engine: str | None = None,
    lanes: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    cohorts: range | None = None,
    twins: str | TwinSpec | None = None,
    keep_epochs: Keep | None = None,
    licence: str | None = None,
    repair: bool = False,
    network: Any = None,
    form: str | Form | None = None,
    share: bool = False,
    lease: float = LEASE_SECONDS,
    on_event: OnEvent = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Zoo:
    """Trains a zoo into the folder `out`, or goes on where an earlier call stopped, and opens it.

    Where the folder holds the zoo with fewer models, seeds or epochs, it grows by a stage, and what it holds stays.
    Where JAX runs several processes as one cluster, each makes its share of the cohorts, on its own devices.

    Args:
        spec: the zoo.
        out: the folder of the zoo, or its address in a bucket: s3://bucket/path or gs://bucket/path.
        stage: a folder on a fast disk of this machine, where the zoo is made and from where it is moved to `out` in the
            background; for a bucket by default in the user's cache folder, else none.
        models: replaces the spec's.
        epochs: replaces the spec's.
        data_dir: the folder of the images (see `load_images`).
        engine: "lanes", "vmap", or "auto", which measures; by default "lanes" on a CPU, "auto" on other devices. A zoo
            once begun keeps its engine and lanes, which decide the last bits.
        lanes: the models side by side on a device.
        devices: train on these devices instead of on all of JAX's default kind. No weight depends on their number.
        cohorts: makes only these cohorts of the zoo.
        twins: a cohort's sparse twins: a method, a TwinSpec, or "none"; by default the spec's.
        keep_epochs: whose weights stay on disk besides the last two: "all", the default, "last" for none, or a tuple.
        licence: what the zoo's record and card say of its licence; twins have their parent's. A zoo once begun takes
            another, and without one keeps its own. It changes no weight, and no digest.
        repair: reads every snapshot whole, and makes damaged and missing ones again.
        form: which hyperparameters models have side by side in a program: "none" for a program of each kind,
            "activation" or "activation+optimizer"; by default what takes the least time, of compiling and of training
            (see docs/performance.md). A zoo once begun keeps its form, which decides the last bits.
        network: a Flax Linen module, of a spec without architecture (see docs/network.md).
        share: other calls make the same zoo at the same time, in the same folder (see docs/clusters.md): each takes the
            next cohort that nobody makes and nobody has finished. Returns when all of them are finished, by whoever.
        lease: after so many seconds in which a sharing call says nothing, another one takes over its cohort.
        on_event: hears of progress: `Trained`, `EpochSaved`, `Notice`.
        should_stop: is asked about twice a second whether to stop.

    Raises InputError, before anything is written, on what the caller can mend; Interrupted after `should_stop()`.

    """
    check = functools.partial(
        check_generate,
        spec,
        out,
        stage=stage,
        models=models,
        epochs=epochs,
        engine=engine,
        lanes=lanes,
        cohorts=cohorts,
        twins=twins,
        keep_epochs=keep_epochs,
        licence=licence,
        repair=repair,
        network=network,
        form=form,
        share=lease if share else None,
    )
    job, mesh = check(), model_mesh(devices)
    images = {
        dataset: load_images(dataset, data_dir, on_note=lambda text: on_event(Notice(text)))
        for dataset in job.plan.spec.every_dataset
    }
    job = shared_out(job, check, lambda job: run_begin(job, images, mesh, on_event=on_event))
    return run_generate(job, images, mesh, on_event=on_event, should_stop=should_stop)


def make_twins(
    zoo: str | Path,
    twin: TwinSpec,
    *,
    stage: str | Path | None = None,
    data_dir: str | Path | None = None,
    devices: Sequence[jax.Device] | None = None,
    cohorts: range | None = None,
    repair: bool = False,
    network: Any = None,
    on_event: OnEvent = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Zoo:
    """Makes sparse twins of a finished zoo, in its folder, or goes on with them, and opens them.

    Never changes the zoo itself. The arguments are those of `generate`, but that images are never downloaded (see
    `Zoo.images`). Raises InputError, also where the zoo or one of the cohorts is not finished, and Interrupted.
    """
    job = check_make_twins(zoo, twin, cohorts, stage=stage, repair=repair, network=network)
    mesh = model_mesh(devices)
    job = share_of(job)
    images = {dataset: images_at_hand(dataset, data_dir) for dataset in job.plan.spec.every_dataset}
    return run_make_twins(job, images, mesh, on_event=on_event, should_stop=should_stop)


@compilation_cached()
@pinned_settings()
def run_generate(
    job: Job,
    images: Mapping[DatasetSpec, Images],
    mesh: Mesh,
    *,
    on_event: OnEvent,
    should_stop: Callable[[], bool],
) -> Zoo:
    """`generate` after its checks, with the images of each data set at hand."""
    on_event, should_stop = under_callers_settings(on_event), under_callers_settings(should_stop)
    on_device = _on_device(images, mesh)  # after the memory was looked at, where that may be
    record, plan = begin_or_go_on(job, images, on_device, mesh, on_event)
    tell_format(record, job.folder, on_event)
    twin_record = None if job.twin is None else begin_twins(job.folder, record, job.twin, mesh)
    cohorts = choose_cohorts(plan, job.cohorts)

    def make(cohort: Cohort, run: Run, ahead: Ahead) -> None:
        _run_dense(job.folder, record, cohort, mesh, run, ahead)
        if twin_record is not None:
            _run_twins(job.folder, record, twin_record, cohort, mesh, run, ahead)

    with moving(job, on_event) as elsewhere:
        run = Run(len(plan.cohorts), on_device, made_with(mesh), job.repair, on_event, should_stop, elsewhere)
        if job.share is not None:
            _share(job, record, cohorts, make, mesh, run)
        else:
            with Ahead(kinds_to_train(job, record, mesh)[0]) as ahead:
                for cohort in cohorts:
                    check_unshared(job.folder, cohort, should_stop)
                    make(cohort, run, ahead)
    return opened(job.zoo_path, job.plan.spec.network)


def _share(
    job: Job,
    record: ZooRecord,
    cohorts: Sequence[Cohort],
    make: Callable[[Cohort, Run, Ahead], None],
    mesh: Mesh,
    run: Run,
) -> None:
    """Makes the cohorts that no other worker makes, until all of them are done."""
    seconds = job.share
    assert seconds is not None
    tell_differences(job.folder, record, run.made, run)
    job = job._replace(anew=False)  # twins of an earlier epoch have made room

    def done(cohort: Cohort) -> bool:
        return job.finished(cohort, None) and (job.twin is None or job.finished(cohort, job.twin))

    def make_one(cohort: Cohort, run: Run) -> None:
        one = job._replace(cohorts=range(cohort.number, cohort.number + 1))
        # others may make those before it, so that nothing is compiled for them
        with Ahead(kinds_to_train(one, record, mesh)[0]) as ahead:
            make(cohort, run, ahead)

    work = Work(record.epochs, 0 if job.twin is None else job.twin.length, done)
    share_cohorts(job.folder, cohorts, work, make_one, run, seconds)


@compilation_cached()
@pinned_settings()
def run_begin(job: Job, images: Mapping[DatasetSpec, Images], mesh: Mesh, *, on_event: OnEvent) -> None:
    """Writes what describes the zoo of a job, and its twins, and trains nothing: how they are trained is chosen here.

    Others may then train cohorts of it, each by a call of its own, which finds the zoo begun.
    """
    on_event = under_callers_settings(on_event)
    record, _ = begin_or_go_on(job, images, _on_device(images, mesh), mesh, on_event)
    if job.twin is not None:
        begin_twins(job.folder, record, job.twin, mesh)
    with moving(job, on_event):
        pass  # what describes them is moved, too


@compilation_cached()
@pinned_settings()
def run_make_twins(
    job: Job,
    images: Mapping[DatasetSpec, Images],
    mesh: Mesh,
    *,
    on_event: OnEvent,
    should_stop: Callable[[], bool],
) -> Zoo:
    """`make_twins` after its checks, with the images of each data set at hand."""
    on_event, should_stop = under_callers_settings(on_event), under_callers_settings(should_stop)
    assert job.begun is not None  # check_make_twins gives both
    assert job.twin is not None
    check_fingerprints(job.begun, images, job.folder)
    tell_format(job.begun, job.folder, on_event)
    check_memory(job, job.begun, mesh, dense=False)
    on_device = _on_device(images, mesh)
    record = begin_twins(job.folder, job.begun, job.twin, mesh)
    with moving(job, on_event) as elsewhere:
        run = Run(len(job.plan.cohorts), on_device, made_with(mesh), job.repair, on_event, should_stop, elsewhere)
        with Ahead(kinds_to_train(job, job.begun, mesh, dense=False)[0]) as ahead:
            for cohort in job.chosen:
                _run_twins(job.folder, job.begun, record, cohort, mesh, run, ahead)
    return opened(twins_folder(job.zoo_path, job.twin.method), job.plan.spec.network)


@contextlib.contextmanager
def moving(job: Job, on_event: OnEvent) -> Iterator[Elsewhere]:
    """What is told of all that is saved: where the job says so, it moves that, and the block ends when all is moved."""
    if job.target is None:
        yield Nowhere()
        return
    with Mirror(job.folder, job.target, lambda text: on_event(Notice(text))) as mirror:
        mirror.describe()
        yield mirror


def _on_device(images: Mapping[DatasetSpec, Images], mesh: Mesh) -> Callable[[DatasetSpec], DeviceImages]:
    """Puts the images of a data set on the devices, in the place of another's."""
    return functools.lru_cache(maxsize=1)(lambda dataset: put_images(images[dataset], mesh))


def _untrained(cohort: Cohort, mesh: Mesh) -> Variables:
    """The variables of epoch 0, drawn on a device of the kind that trains: other kinds round otherwise."""
    with jax.default_device(mesh.devices.flat[0]):
        return initial_variables(cohort)


def _run_dense(folder: Path, record: ZooRecord, cohort: Cohort, mesh: Mesh, run: Run, ahead: Ahead) -> None:
    way = record.cohorts[cohort.number]
    kind = Kind(cohort.key, way.engine, way.lanes, mesh)
    beginning = Beginning(functools.partial(_untrained, cohort, mesh))
    run_cohort(folder, record, build_program(*kind), cohort, beginning, run, functools.partial(ahead.wait, kind))


def _run_twins(
    folder: Path, parent: ZooRecord, record: ZooRecord, cohort: Cohort, mesh: Mesh, run: Run, ahead: Ahead
) -> None:
    """Makes the twins of a cohort from its last epoch in the parent's folder."""
    twin, way = record.twin, record.cohorts[cohort.number]
    assert twin is not None
    check_still(twins_folder(folder, twin.method), record)
    last = parent.epochs
    parents = run.elsewhere.source(cohort_folder(folder, cohort.number), last)
    identity = identity_of(parent, cohort.number, cohort.members, run.made)
    beginning = Beginning(
        functools.partial(read_whole_variables, parents, last, identity), parent_checksum(parents, last)
    )
    kind, twins = Kind(cohort.key, way.engine, way.lanes, mesh, twin), twins_folder(folder, twin.method)
    run_cohort(twins, record, build_program(*kind), cohort, beginning, run, functools.partial(ahead.wait, kind))
