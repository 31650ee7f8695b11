"""The memory of the devices: looked at for every kind of cohort before the first one starts; images lie there once."""

import dataclasses
import subprocess
import sys

import pytest
from populations import write_digits_config

import jaxzoo
from jaxzoo.devices import model_mesh
from jaxzoo.errors import InputError
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training import memory, tuning
from jaxzoo.training.checks import check_generate
from jaxzoo.training.fitting import fit_cohorts
from jaxzoo.training.memory import (
    Kind,
    compile_training,
    models_that_fit,
    most_demanding,
    order_bytes,
    tree_bytes,
    waiting_bytes,
)
from jaxzoo.training.programs import abstract_arguments, build_program
from jaxzoo.training.tuning import Choice, measure_engines
from jaxzoo.training.zoo import generate

TWINS = TwinSpec(method="magnitude", epochs=1)


@pytest.fixture
def spec(tmp_path):
    """A cohort trained by SGD comes first, one by Adam, which takes more memory, after it."""
    (spec,) = jaxzoo.read_config(write_digits_config(tmp_path / "tiny.toml", epochs="1", batch_size="120"))
    return dataclasses.replace(spec, grid=dataclasses.replace(spec.grid, optimizer=("sgd", "adam")))


def kinds_of(spec, twin=None):
    return [Kind(cohort.key, "lanes", 2, model_mesh(), twin) for cohort in jaxzoo.plan_zoo(spec).cohorts]


@pytest.fixture
def room_for_sgd(spec, monkeypatch):
    sgd, adam = (compile_training(build_program(*kind))[1] for kind in kinds_of(spec))
    assert sgd.training < adam.training
    monkeypatch.setattr(memory, "device_memory", lambda mesh, unknown: (sgd.training + adam.training) // 2)


def test_a_later_cohort_that_does_not_fit_is_refused_before_the_first_one_starts(spec, tmp_path, room_for_sgd):
    """It was refused after the first ones had trained for a day."""
    events = []
    with pytest.raises(InputError, match=r"training needs .* GB, expected at most the .* GB of this device"):
        generate(spec, tmp_path / "zoo", lanes=2, twins="none", on_event=events.append)
    assert events == []
    assert not (tmp_path / "zoo").exists()
    part = generate(spec, tmp_path / "part", lanes=2, twins="none", cohorts=range(0, 1))  # SGD alone fits
    with pytest.raises(InputError, match="training needs"):
        generate(spec, part.path, lanes=2, twins="none")
    generate(spec, part.path, lanes=2, twins="none", cohorts=range(0, 1))  # finished: nothing is to be trained


def test_no_engine_is_chosen_that_does_not_fit_every_cohort(spec, room_for_sgd, monkeypatch):
    monkeypatch.setattr(tuning, "CPU_CANDIDATES", (("lanes", 2),))
    notes = []
    with pytest.raises(InputError, match="no candidate fits the memory of this device"):
        measure_engines(jaxzoo.plan_zoo(spec).cohorts, None, model_mesh(), notes.append)
    assert "engine lanes, 2 lanes: lanes is 2: training needs" in notes[0]


def test_twins_are_looked_at_too(spec, tmp_path):
    dense, twins = kinds_of(spec), kinds_of(spec, TWINS)
    assert most_demanding([*dense, *twins]) == twins[1]
    assert [waiting_bytes(kind) for kind in dense] < [waiting_bytes(kind) for kind in twins]
    job = check_generate(spec, tmp_path / "zoo", twins=TWINS)
    compiled = compile_training(build_program(*twins[1]))[1]
    smaller = compiled.training + compiled.waiting  # two slabs of the most demanding kind
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "device_memory", lambda mesh, unknown: smaller)
        ways = {twins[1].key.layers: Choice("lanes", 2)}
        plan = fit_cohorts(with_seeds(job, 9), ways, model_mesh(), lambda text: None)
    assert max(len(cohort.members) for cohort in plan.cohorts) <= 2 * 2 * model_mesh().size


def test_the_orders_of_slabs_in_the_middle_of_an_epoch_are_counted(spec):
    """Only where steps are asked for: training then pauses with every slab of a cohort in the middle of an epoch."""
    kind = kinds_of(spec)[0]
    program = build_program(*kind)
    needs = compile_training(program)[1]
    shapes = abstract_arguments(program)[4]
    assert tree_bytes(shapes) == program.width * order_bytes(kind.key)
    declared = dataclasses.replace(spec, grid=dataclasses.replace(spec.grid, label_noise=(0.1,), trigger=(0.1,)))
    relabelled = kinds_of(declared)[0]
    more = abstract_arguments(build_program(*relabelled))[4]
    assert tree_bytes(more) == program.width * order_bytes(relabelled.key)
    room = needs.training + 3 * needs.waiting
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "device_memory", lambda mesh, unknown: room)
        assert models_that_fit([kind], 9) == 4 * program.width
        slabs = 1 + 3 * needs.waiting // (needs.waiting + kind.lanes * order_bytes(kind.key))
        assert models_that_fit([kind], 9, with_orders=True) == slabs * program.width < 4 * program.width


def with_seeds(job, seeds):
    spec = dataclasses.replace(job.plan.spec, seeds=jaxzoo.SeedRange(first=1, last=seeds))
    return job._replace(plan=jaxzoo.plan_zoo(spec))


SHARED = """
import resource, sys, jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from jaxzoo.devices import model_mesh
from jaxzoo.datasets.images import Images, Split
from jaxzoo.training.population import put_images
pixels = np.random.default_rng(0).integers(0, 256, (64_000, 28, 28, 3), np.uint8)  # 150 MB
split = Split(pixels, np.zeros(len(pixels), np.int32))
nothing = Split(pixels[:0], split.labels[:0])
images = Images(split, nothing, nothing, np.zeros(3), np.ones(3), "")
jax.devices()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
placed = put_images(images, model_mesh())
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
places = {shard.data.unsafe_buffer_pointer() for shard in placed.pixels.addressable_shards}
np.testing.assert_array_equal(np.asarray(placed.pixels.addressable_shards[7].data), pixels)
print(len(placed.pixels.addressable_shards), len(places), grown * 1024 // pixels.nbytes)
"""


def test_the_devices_of_a_cpu_share_one_copy_of_the_images():
    """Eight devices held eight copies."""
    done = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True, check=True)
    shards, places, copies = map(int, done.stdout.split())
    assert (shards, places) == (8, 1)
    assert copies <= 2  # the splits joined, and the aligned copy


def test_shared_images_are_counted_once(spec):
    kind = kinds_of(spec)[0]
    program = build_program(*kind)
    _, needs = compile_training(program)
    arguments = memory.abstract_arguments(program)
    sizes = program.train.lower(*arguments).compile().memory_analysis()
    images = memory.tree_bytes(arguments[memory.IMAGES])
    everything = sizes.temp_size_in_bytes + sizes.argument_size_in_bytes
    assert needs.training == everything - images + images // program.mesh.size
