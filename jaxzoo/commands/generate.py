"""`jaxzoo generate`: makes zoos. The library call is `jaxzoo.generate`."""

import argparse
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxzoo.clusters.hosts import join_processes
from jaxzoo.clusters.on_ray import connected, generate_on_ray
from jaxzoo.commands.arguments import (
    DEVICES,
    Parser,
    amounts,
    cohort_range,
    device_choice,
    kept_argument,
    path_argument,
    path_below,
    positive,
    run_command,
    whole_number,
    zoo_argument,
)
from jaxzoo.commands.forecasts import forecast_text
from jaxzoo.commands.interrupts import caught_signals
from jaxzoo.commands.listing import list_zoos
from jaxzoo.commands.progress import ProgressBar, summary, tell
from jaxzoo.commands.zoos import usual_zoos, zoos_named, zoos_of_papers
from jaxzoo.compilation import use_compilation_cache
from jaxzoo.datasets import Images, load_images
from jaxzoo.devices import model_mesh, some_devices, use_all_cores
from jaxzoo.errors import InputError
from jaxzoo.models.engines import ENGINES
from jaxzoo.reading.zoo import Zoo
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.form import FORMS
from jaxzoo.spec.twin_spec import METHODS, NO_TWINS, TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec, dataset_specs
from jaxzoo.storage.leases import LEASE_SECONDS
from jaxzoo.training.checks import AUTO, check_generate, choose_twins
from jaxzoo.training.events import Interrupted
from jaxzoo.training.forecast import forecast
from jaxzoo.training.job import Job
from jaxzoo.training.processes import share_of, shared_out
from jaxzoo.training.zoo import run_begin, run_generate

EXAMPLES = """examples:
  jaxzoo generate --zoo digits                              the embedded zoo and its twins, in three minutes
  jaxzoo generate --zoo mnist                               all zoos of a dataset
  jaxzoo generate --zoo mnist-seed --models 64 --epochs 5   a small part of one
  jaxzoo generate --zoo mnist-seed --models 128 --epochs 10 the same zoo, extended
  jaxzoo generate --zoo mnist-seed --plan                   what one will take here
  jaxzoo generate --config my_zoo.toml --out my_zoos        zoos of your own
  jaxzoo generate --zoo mnist --out s3://bucket/zoos        into a bucket, by way of a stage
  jaxzoo generate --list                                    what there is

Running a command again goes on where it stopped."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo generate", lambda: _run(parse(arguments)))


def _run(options: argparse.Namespace) -> int:
    if options.list:
        print(list_zoos([*usual_zoos(options.config).values()], [*zoos_of_papers(options.config).values()]))
        return 0
    return _generate_all(options)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line. Raises InputError."""
    parser = Parser(
        prog="jaxzoo generate",
        description="Trains a model zoo: every member at once, every epoch's weights on disk.",
        examples=EXAMPLES,
    )
    parser.add_argument("--zoo", metavar="NAME", help="a zoo, or a dataset for all its zoos")
    parser.add_argument(
        "--config", type=path_argument, metavar="FILE", help="a TOML file of zoos, instead of the published ones"
    )
    parser.add_argument("--list", action="store_true", help="print the table of zoos and end")
    parser.add_argument("--plan", action="store_true", help="say what it will take (time, memory, disk) and end")
    parser.add_argument("--twins", choices=(*METHODS, NO_TWINS), help="sparse twins (as the spec says)")
    parser.add_argument(
        "--twin-epochs", type=positive, metavar="N", help="so many epochs of twins (as the spec says, at most --epochs)"
    )
    parser.add_argument("--models", type=positive, metavar="N", help="so many models, spread over the grid")
    parser.add_argument("--epochs", type=positive, metavar="N", help="so many epochs")
    parser.add_argument(
        "--out",
        type=zoo_argument,
        default=Path("zoos"),
        metavar="DIR",
        help="each zoo gets a folder there (zoos); also s3://bucket/path and gs://bucket/path",
    )
    parser.add_argument(
        "--stage", type=path_argument, metavar="DIR", help="make zoos there, and move them to --out in the background"
    )
    parser.add_argument(
        "--data-dir", type=path_argument, metavar="DIR", help="the datasets (TFDS_DATA_DIR, ~/tensorflow_datasets)"
    )
    parser.add_argument(
        "--engine", choices=(AUTO, *ENGINES), help="how to train; auto measures (lanes on a CPU, auto on others)"
    )
    parser.add_argument("--lanes", type=positive, metavar="N", help="models side by side on a device (16 on a CPU)")
    parser.add_argument("--devices", type=device_choice, metavar="N", help=DEVICES)
    parser.add_argument(
        "--form", choices=(*FORMS,), help="what models have side by side in a program (as costs the least time)"
    )
    parser.add_argument(
        "--keep-epochs",
        type=kept_argument,
        metavar="KEEP",
        help="besides the last two: all (default), last for none, or 0,10,20",
    )
    parser.add_argument("--licence", metavar="TEXT", help="what the zoo says of its licence, such as cc-by-4.0")
    parser.add_argument("--repair", action="store_true", help="read every epoch; make missing and damaged ones again")
    parser.add_argument("--cohorts", type=cohort_range, metavar="A:B", help="only the cohorts A to B - 1")
    _add_clusters(parser)
    options = parser.parse_args(arguments)
    if not (options.zoo or options.config or options.list):
        parser.error("nothing to do, expected --zoo NAME, --config FILE or --list")
    _check_clusters(parser, options)
    return options


def _check_clusters(parser: Parser, options: argparse.Namespace) -> None:
    """Raises InputError for ways to spread work that do not go together."""
    ways = [name for name in ("share", "ray", "coordinator") if getattr(options, name) not in (None, False)]
    if len(ways) > 1:
        parser.error(f"{' and '.join(f'--{name}' for name in ways)}: expected one of them")
    if options.ray is None and options.per_task is not None:
        parser.error("--per-task: expected --ray, too")
    if options.ray is not None and options.devices is not None:
        parser.error("--devices and --ray: expected --per-task, which says what a task takes")
    if options.coordinator is None and (options.processes, options.process_id) != (None, None):
        parser.error("--processes and --process-id: expected --coordinator HOST:PORT, too")


def _add_clusters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several machines, which share the folder of --out")
    group.add_argument(
        "--share", action="store_true", help="other workers make the same zoo in the same folder at the same time"
    )
    group.add_argument(
        "--lease",
        type=float,
        default=LEASE_SECONDS,
        metavar="SECONDS",
        help="with --share: a cohort is taken over from a worker that is silent for so long (60)",
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="where process 0 of --processes answers the others; auto on Cloud TPUs, under SLURM or Open MPI",
    )
    group.add_argument("--processes", type=positive, metavar="N", help="so many, each makes its share of the cohorts")
    group.add_argument("--process-id", type=whole_number, metavar="I", help="which of them this one is, from 0")
    group.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="a task of a Ray cluster for each cohort (the one at hand)",
    )
    group.add_argument(
        "--per-task",
        type=amounts,
        metavar="GPU=1",
        help="with --ray: what a task takes, by Ray's names (a GPU, or CPU=1)",
    )


def _generate_all(options: argparse.Namespace) -> int:
    # every zoo is checked before the first is begun
    checks = checks_of(options)
    jobs = [check() for check in checks]
    if options.ray is not None and not options.plan:
        return _generate_on_ray(jobs, options)
    use_all_cores()
    use_compilation_cache()
    if options.coordinator is not None:
        join_processes(options.coordinator, options.processes, options.process_id)
    mesh = model_mesh(some_devices(options.devices))
    for job in jobs:
        share_of(job)  # so that none is begun where another has too few cohorts
    if options.plan:
        print("\n\n".join(forecast_text(job.plan.spec, forecast(job, mesh), mesh.size) for job in jobs))
        return 0
    datasets = dataset_specs(job.plan.spec for job in jobs)
    images = {dataset: load_images(dataset, options.data_dir, progress=True) for dataset in datasets}

    def begin(job: Job) -> None:
        run_begin(job, _own(images, job), mesh, on_event=tell)

    # where there are several processes: all zoos are begun before one of the processes is busy with the first
    jobs = [shared_out(job, check, begin) for job, check in zip(jobs, checks, strict=True)]
    return _one_by_one(jobs, lambda job, hearing: run_generate(job, _own(images, job), mesh, **hearing))


def _generate_on_ray(jobs: Sequence[Job], options: argparse.Namespace) -> int:
    def make(job: Job, hearing: Mapping[str, Any]) -> Zoo:
        spec = specs[job.plan.spec.name]
        how = {"per_task": options.per_task, "data_dir": options.data_dir, **_how(spec, options), **hearing}
        return generate_on_ray(spec, path_below(options.out, spec.name), stage=options.stage, **how)

    specs = {spec.name: spec for spec in zoos_named(options.zoo, options.config)}
    with connected(options.ray or None):
        return _one_by_one(jobs, make)


def _one_by_one(jobs: Sequence[Job], make: Callable[[Job, Mapping[str, Any]], Zoo]) -> int:
    """Makes the zoos, each with a bar and a summary. `make(job, hearing)` is told who hears of events and may stop."""
    with caught_signals() as caught:
        for job in jobs:
            try:
                with ProgressBar(job) as progress:
                    zoo = make(job, {"on_event": progress.show, "should_stop": lambda: bool(caught)})
                print(summary(zoo, progress))
            except Interrupted as interrupted:
                print(f"{interrupted}; all epochs before it are saved. Run the same command again to go on.")
                return 128 + caught[0]
    return 0


def checks_of(options: argparse.Namespace) -> list[Callable[[], Job]]:
    """For each zoo of a command line, the check that says what is to be made, as its folder is then."""
    return [functools.partial(_check, spec, options) for spec in zoos_named(options.zoo, options.config)]


def _own(images: Mapping[DatasetSpec, Images], job: Job) -> dict[DatasetSpec, Images]:
    return {dataset: images[dataset] for dataset in job.plan.spec.every_dataset}


def _check(spec: ZooSpec, options: argparse.Namespace) -> Job:
    out, share = path_below(options.out, spec.name), options.lease if options.share else None
    return check_generate(spec, out, stage=options.stage, share=share, **_how(spec, options))


def _how(spec: ZooSpec, options: argparse.Namespace) -> dict[str, Any]:
    """What a call of `generate` is told besides the spec and the folder."""
    names = ("models", "epochs", "engine", "lanes", "cohorts", "keep_epochs", "licence", "repair", "form")
    return {**{name: getattr(options, name) for name in names}, "twins": _twins(spec, options)}


def _twins(spec: ZooSpec, options: argparse.Namespace) -> str | TwinSpec | None:
    if options.twin_epochs is None:
        return options.twins
    twin = choose_twins(spec, options.twins)
    if twin is None:
        raise InputError(f"--twin-epochs is {options.twin_epochs}, expected none: no twins are asked for")
    return dataclasses.replace(twin, epochs=options.twin_epochs)
