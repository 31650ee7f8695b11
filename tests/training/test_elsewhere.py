"""A zoo that is made in a stage and moved, into a bucket or to a folder: its bits are those of one made in place."""

import dataclasses
import shutil
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from populations import assert_same_weights, small_images, small_spec, write_digits_config

import jaxzoo
from jaxzoo.devices import model_mesh
from jaxzoo.errors import InputError
from jaxzoo.storage import mirror as mirrors
from jaxzoo.storage import staging
from jaxzoo.storage.store_paths import zoo_path
from jaxzoo.training.checks import check_generate, check_make_twins
from jaxzoo.training.events import EpochSaved, Interrupted, Trained
from jaxzoo.training.zoo import run_generate, run_make_twins

PLAIN = dataclasses.replace(small_spec(seeds=4, epochs=2), cohort_size=2, twins=None)
SPEC = dataclasses.replace(PLAIN, twins=jaxzoo.TwinSpec(method="magnitude", epochs=1))


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mirrors, "PAUSES", (0.01,))


def make(out, spec=SPEC, stop_after=None, trained=None, **options):
    """`jaxzoo.generate` on a few images that are no data set; stops once so many epochs are saved.

    `trained` gets the cohorts and epochs that are trained.
    """
    saved, trained = [], set() if trained is None else trained

    def hear(event):
        saved.extend([event] * isinstance(event, EpochSaved))
        if isinstance(event, Trained) and not event.restored:
            trained.add((event.twins, event.cohort, event.epoch))

    job = check_generate(spec, out, **options)
    images = {spec.dataset: small_images(spec.dataset)}
    stop = (lambda: False) if stop_after is None else (lambda: len(saved) >= stop_after)
    return run_generate(job, images, model_mesh(), on_event=hear, should_stop=stop)


@pytest.fixture(scope="module")
def folder_zoo(tmp_path_factory):
    return make(tmp_path_factory.mktemp("folder") / "z")


@pytest.fixture(scope="module")
def plain_zoo(tmp_path_factory):
    return make(tmp_path_factory.mktemp("plain") / "z", PLAIN)


def same(zoo, other):
    assert_same_weights(zoo, other)
    pd.testing.assert_frame_equal(zoo.metrics, other.metrics)
    assert list(jaxzoo.verify_zoo(str(zoo.path), deep=True)) == []
    return True


def test_a_zoo_in_a_bucket_is_that_of_a_folder(bucket, folder_zoo):
    zoo = make(f"{bucket}/zoos/z")
    assert str(zoo.path) == f"{bucket}/zoos/z"
    assert same(zoo, folder_zoo)
    twins = jaxzoo.open_zoo(f"{bucket}/zoos/z/twins/magnitude")
    assert_same_weights(twins, folder_zoo.twins["magnitude"])
    trained = set()
    make(f"{bucket}/zoos/z", trained=trained)
    assert not trained


@pytest.mark.parametrize("epochs", [2, 6])
def test_after_a_loss_of_the_stage_the_same_call_goes_on_from_the_bucket(bucket, folder_zoo, tmp_path, epochs):
    with pytest.raises(Interrupted):
        make(f"{bucket}/z", stop_after=epochs)
    shutil.rmtree(tmp_path / "cache")
    there = [jaxzoo.open_zoo(f"{bucket}/z", partial=True)]
    there += there[0].twins.values()
    held = {
        (zoo.record.twin is not None, zoo.member(model).cohort, epoch)
        for zoo in there
        for epoch in zoo.epochs
        for model in zoo.models_at(epoch)
    }
    trained = set()
    assert same(make(f"{bucket}/z", trained=trained), folder_zoo)
    assert held
    assert not held & trained


def test_a_zoo_of_the_last_epochs_alone(bucket, tmp_path):
    """What is let go in the stage is let go in the bucket, also after the stage was lost."""
    spec = dataclasses.replace(PLAIN, epochs=4, models=2)
    with pytest.raises(Interrupted):
        make(f"{bucket}/z", spec, stop_after=3, keep_epochs="last")
    shutil.rmtree(tmp_path / "cache")
    zoo = make(f"{bucket}/z", spec, keep_epochs="last")
    assert zoo.epochs == (3, 4)
    assert zoo.metrics["epoch"].unique().tolist() == [0, 1, 2, 3, 4]
    assert same(zoo, make(tmp_path / "z", spec, keep_epochs="last"))
    for part in ("snapshots", "resume"):
        keys = zoo_path(f"{bucket}/z").store.keys(f"cohorts/000/{part}/")
        assert {key.split("/")[0] for key in keys} == {"3", "4"}


def test_a_zoo_grows_in_a_bucket(bucket, tmp_path):
    few = dataclasses.replace(PLAIN, models=2, epochs=1)
    more = dataclasses.replace(few, models=4, epochs=2)
    make(f"{bucket}/z", few)
    shutil.rmtree(tmp_path / "cache")
    make(tmp_path / "z", few)
    assert same(make(f"{bucket}/z", more), make(tmp_path / "z", more))


def test_a_stage_for_a_folder(folder_zoo, tmp_path):
    with pytest.raises(Interrupted):
        make(tmp_path / "drive" / "z", stage=tmp_path / "stage", stop_after=3)
    assert jaxzoo.open_zoo(tmp_path / "drive" / "z", partial=True).epochs
    zoo = make(tmp_path / "drive" / "z", stage=tmp_path / "stage")
    assert zoo.path == tmp_path / "drive" / "z"
    assert same(zoo, folder_zoo)
    assert not list((tmp_path / "stage").rglob("snapshots/*"))
    # and a call without a stage goes on with it
    longer = dataclasses.replace(PLAIN, epochs=3)
    make(tmp_path / "drive" / "z", longer)


def test_twins_of_a_zoo_in_a_bucket(bucket, folder_zoo, tmp_path):
    zoo = make(f"{bucket}/z", PLAIN)
    assert not zoo.twins
    shutil.rmtree(tmp_path / "cache")
    job = check_make_twins(f"{bucket}/z", jaxzoo.TwinSpec(method="magnitude", epochs=1), range(1))
    images = {SPEC.dataset: small_images(SPEC.dataset)}
    twins = run_make_twins(job, images, model_mesh(), on_event=lambda event: None, should_stop=lambda: False)
    assert str(twins.path) == f"{bucket}/z/twins/magnitude"
    assert same(make(f"{bucket}/z"), folder_zoo)


def test_a_machine_that_begins_anew_is_compared_with_the_bucket(bucket, plain_zoo, tmp_path):
    """Another machine has neither what training goes on from, nor the last epoch, whose objects are still there."""
    make(f"{bucket}/z", PLAIN)
    store = zoo_path(f"{bucket}/z").store
    for path in ("snapshots/2", "resume/1", "resume/2"):
        store.delete(f"whole/cohorts/001/{path}")
    shutil.rmtree(tmp_path / "cache")
    assert same(make(f"{bucket}/z", PLAIN), plain_zoo)


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_two_machines_that_begin_at_once_make_one_zoo(bucket, plain_zoo, tmp_path, kind):
    out = f"{bucket}/z" if kind == "bucket" else str(tmp_path / "drive" / "z")
    images = {PLAIN.dataset: small_images(PLAIN.dataset)}
    machines = [{"stage": tmp_path / f"machine-{number}", "cohorts": range(number, number + 1)} for number in (0, 1)]
    jobs = [check_generate(PLAIN, out, **machine) for machine in machines]  # neither finds a zoo
    for job in jobs:
        assert job.begun is None
        zoo = run_generate(job, images, model_mesh(), on_event=lambda event: None, should_stop=lambda: False)
    assert same(zoo, plain_zoo)
    other = dataclasses.replace(PLAIN, batch_size=7)
    jobs = [check_generate(spec, f"{out}-2", **machines[0]) for spec in (PLAIN, other)]
    run_generate(jobs[0], images, model_mesh(), on_event=lambda event: None, should_stop=lambda: False)
    shutil.rmtree(tmp_path / "machine-0")
    with pytest.raises(InputError, match="another process began it with other settings: batch_size is 10, got 7"):
        run_generate(jobs[1], images, model_mesh(), on_event=lambda event: None, should_stop=lambda: False)


def test_a_claim_that_nobody_goes_on_with_is_taken_over(bucket, plain_zoo, monkeypatch):
    monkeypatch.setattr(staging, "JOINING", 1)
    job = check_generate(PLAIN, f"{bucket}/z")
    assert check_generate(PLAIN, f"{bucket}/z").target.begin()  # by a process that ends there
    images = {PLAIN.dataset: small_images(PLAIN.dataset)}
    with pytest.raises(InputError, match="another process has begun a zoo there and does not go on"):
        run_generate(job, images, model_mesh(), on_event=lambda event: None, should_stop=lambda: False)
    assert same(make(f"{bucket}/z", PLAIN), plain_zoo)


def test_what_cannot_be_written_is_one_line_and_stays_in_the_stage(bucket, plain_zoo, monkeypatch, tmp_path):
    from jaxzoo.storage.stores import Store

    write = Store.write
    broken = True

    def fail(self, key, value):
        if broken and "snapshots/1/" in key:
            raise OSError("the net is gone")
        write(self, key, value)

    monkeypatch.setattr(Store, "write", fail)
    with pytest.raises(InputError, match=r"1: cannot be written \(the net is gone\), .*the same call goes on"):
        make(f"{bucket}/z", PLAIN)
    assert jaxzoo.open_zoo(f"{bucket}/z", partial=True).epochs == (0,)
    broken = False
    assert same(make(f"{bucket}/z", PLAIN), plain_zoo)


def test_deletes_that_fail_are_tried_again(bucket, monkeypatch, tmp_path):
    from jaxzoo.storage.targets import BucketTarget

    remove, failed = BucketTarget.remove, []

    def fail_once(self, path):
        if path not in failed:
            failed.append(path)
            raise OSError("try again")
        remove(self, path)

    monkeypatch.setattr(BucketTarget, "remove", fail_once)
    spec = dataclasses.replace(PLAIN, epochs=3, models=2)
    zoo = make(f"{bucket}/z", spec, keep_epochs="last")
    assert failed
    assert zoo.epochs == (2, 3)
    assert jaxzoo.open_zoo(f"{bucket}/z").metrics["epoch"].nunique() == 4


def test_steps_optimizers_and_outputs_are_moved(bucket, tmp_path):
    snapshots = jaxzoo.Snapshots(steps=(3, 7), keep_optimizer=True, examples=8)
    spec = dataclasses.replace(PLAIN, models=2, snapshots=snapshots, outputs=["train"])
    with pytest.raises(Interrupted):
        make(f"{bucket}/z", spec, stop_after=2)
    shutil.rmtree(tmp_path / "cache")
    zoo, other = make(f"{bucket}/z", spec), make(tmp_path / "z", spec)
    assert zoo.steps == other.steps
    assert same(zoo, other)
    np.testing.assert_array_equal(zoo.weights(step=3), other.weights(step=3))
    np.testing.assert_array_equal(zoo.outputs(2, "train"), other.outputs(2, "train"))
    jax.tree.map(np.testing.assert_array_equal, zoo.optimizer(1), other.optimizer(1))


def test_the_command_line_writes_into_a_bucket(bucket, tmp_path):
    config = write_digits_config(tmp_path / "tiny.toml", epochs="1", twins='"none"')
    command = [sys.executable, "-m", "jaxzoo", "generate", "--config", str(config), "--models", "1"]
    command += ["--out", f"{bucket}/zoos", "--stage", str(tmp_path / "stage")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"tiny in {bucket}/zoos/tiny" in done.stdout
    assert list(jaxzoo.verify_zoo(f"{bucket}/zoos/tiny", deep=True)) == []
    assert len(list((tmp_path / "stage").glob("tiny-*/zoo.json"))) == 1


def test_bad_input_is_one_line(bucket, tmp_path, plain_zoo):
    make(f"{bucket}/z", dataclasses.replace(PLAIN, epochs=1))
    for text, call in {
        "there is no bucket 'no-such-bucket', expected one that is there": lambda: make("s3://no-such-bucket/z"),
        "repair is asked for, expected a zoo in a folder": lambda: make(f"{bucket}/z", repair=True),
        "is the name of a zip file, expected a folder or an address": lambda: make(f"{bucket}/z.zip"),
        f"{bucket}/z: holds another zoo": lambda: make(f"{bucket}/z", dataclasses.replace(PLAIN, batch_size=7)),
    }.items():
        with pytest.raises(InputError, match=text) as raised:
            call()
        assert "\n" not in str(raised.value)
