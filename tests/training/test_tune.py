"""The engine that a zoo is trained with: measured, given, remembered; and how often it is compiled."""

import collections
import dataclasses
import json

import jax
import pytest
from populations import cohort_of, small_images, small_spec, write_digits_config

import jaxzoo
from jaxzoo.devices import model_mesh
from jaxzoo.errors import InputError
from jaxzoo.training import programs, tuning
from jaxzoo.training.memory import compile_to_fit
from jaxzoo.training.population import put_images
from jaxzoo.training.programs import build_program
from jaxzoo.training.zoo import Notice, generate


@pytest.fixture
def spec(tmp_path):
    (spec,) = jaxzoo.read_config(write_digits_config(tmp_path / "tiny.toml", epochs="1"))
    return spec


def test_the_fastest_candidate_is_chosen(monkeypatch):
    monkeypatch.setattr(tuning, "CPU_CANDIDATES", (("lanes", 4), ("vmap", 4), ("lanes", 64)))
    monkeypatch.setattr(tuning, "SEARCH_SECONDS", 1e9)  # however busy the machine
    spec = small_spec(seeds=8)
    mesh = model_mesh()
    notes = []
    choice = tuning.measure_engines([cohort_of(spec)], put_images(small_images(spec.dataset), mesh), mesh, notes.append)
    assert set(choice.timed) == {"lanes 4", "vmap 4"}  # 64 lanes for 4 models a device would stand empty
    assert choice.timed[f"{choice.engine} {choice.lanes}"] == max(choice.timed.values()) > 0
    (note,) = notes
    assert note.startswith(f"engine {choice.engine}, {choice.lanes} lanes a device, is the fastest here")


@pytest.mark.parametrize("failing", ["compile_to_fit", "examples_per_second"])
def test_a_candidate_that_fails_is_noted_and_the_next_one_is_tried(monkeypatch, failing):
    monkeypatch.setattr(tuning, "CPU_CANDIDATES", (("lanes", 2), ("lanes", 4)))
    monkeypatch.setattr(tuning, "SEARCH_SECONDS", 1e9)
    whole = getattr(tuning, failing)

    def fails(program, *rest):
        if program.lanes == 2:
            raise jax.errors.JaxRuntimeError("INTERNAL: ptxas exited with 255\nand a page of text")
        return whole(program, *rest)

    monkeypatch.setattr(tuning, failing, fails)
    spec = small_spec(seeds=8)
    mesh = model_mesh()
    notes = []
    images = put_images(small_images(spec.dataset), mesh)
    choice = tuning.measure_engines([cohort_of(spec)], images, mesh, notes.append)
    assert (choice.engine, choice.lanes) == ("lanes", 4)
    assert notes[0] == "engine lanes, 2 lanes: INTERNAL: ptxas exited with 255"

    monkeypatch.setattr(tuning, "CPU_CANDIDATES", (("lanes", 2),))
    with pytest.raises(InputError, match="no candidate fits the memory of this device and runs on it"):
        tuning.measure_engines([cohort_of(spec)], images, mesh, notes.append)


def test_vmap_is_tried_on_no_device_for_networks_that_have_kernels():
    """It was the slowest candidate on a CPU, on a TPU by its compiler's estimate, and on an H200."""
    key = cohort_of(small_spec()).key
    for platform in ("cpu", "tpu", "gpu"):
        assert {engine for engine, _ in tuning.candidates_for(key, platform)} == {"lanes"}


def test_a_width_that_cannot_fit_is_refused():
    program = build_program(cohort_of(small_spec()).key, "lanes", 10**7, model_mesh())
    with pytest.raises(InputError, match=r"lanes is 10000000: training needs .* GB, expected at most the .* GB"):
        compile_to_fit(program)


def test_auto_is_remembered_beside_the_zoo_and_changes_nothing_else(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "CPU_CANDIDATES", (("lanes", 2),))
    events = []
    zoo = generate(spec, tmp_path / "auto", engine="auto", models=2, on_event=events.append, twins="none")
    assert [event for event in events if isinstance(event, Notice) and "lanes 2:" in event.text]
    text = (tmp_path / "auto" / "zoo.json").read_text()
    ways, timed = (json.loads(text)[name] for name in ("cohorts", "timed"))
    assert [(way["engine"], way["lanes"]) for way in ways] == [("lanes", 2)] * 2
    assert set(timed) == {"lanes 2"}

    monkeypatch.setattr(tuning, "CPU_CANDIDATES", (("vmap", 4),))
    again = generate(spec, tmp_path / "auto", engine="auto", models=2, twins="none")
    assert (tmp_path / "auto" / "zoo.json").read_text() == text
    given = generate(spec, tmp_path / "given", engine="lanes", lanes=2, models=2, twins="none")
    for other in (again, given):
        assert (other.weights(epoch=1) == zoo.weights(epoch=1)).all()


WRONG = {
    "unknown engine": ({"engine": "warp"}, "engine is 'warp', expected one of: auto, lanes, vmap"),
    "no lanes": ({"lanes": 0}, "lanes is 0, expected 1 or more"),
    "both": ({"lanes": 4, "engine": "auto"}, "lanes is 4 and engine 'auto', which chooses the lanes"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_engine_is_refused_before_anything_is_written(spec, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        generate(spec, tmp_path / "zoo", **arguments)
    assert not (tmp_path / "zoo").exists()


def test_an_engine_that_has_no_such_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="engine is 'lanes', expected vmap for resnet-18 in float32"):
        generate(jaxzoo.load_spec("cifar10-resnet18"), tmp_path / "zoo", models=1, engine="lanes")


def test_another_width_than_the_zoo_was_begun_with_is_refused(spec, tmp_path):
    generate(spec, tmp_path / "zoo", lanes=2, models=2, twins="none")
    with pytest.raises(InputError, match="was begun with 2 lanes, got 4, expected the same"):
        generate(spec, tmp_path / "zoo", lanes=4, models=2)


def test_a_program_is_compiled_once_whatever_the_number_of_cohorts_members_and_epochs(tmp_path):
    """Grid points that differ in rates and seeds share a program, and so do cohorts of other sizes."""
    rows = {"rate": "[1e-3, 3e-4]", "epochs": "2", "seeds": "{ first = 1, last = 3 }"}
    (spec,) = jaxzoo.read_config(write_digits_config(tmp_path / "tiny.toml", **rows))
    compiled = collections.Counter()

    def note(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled[fun_name] += 1

    for builder in vars(programs).values():
        if hasattr(builder, "cache_clear"):
            builder.cache_clear()  # of what other tests compiled
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        generate(spec, tmp_path / "small", models=4, epochs=1, twins=spec.twins)
        zoo = generate(dataclasses.replace(spec, cohort_size=4), tmp_path / "large")
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert (len(zoo.members), zoo.members["cohort"].nunique()) == (12, 4)
    # what trains once for adam and once for sgd, and for the twins of each; what knows no optimizer once for both
    names = ("train", "shuffle", "evaluate", "sparse")
    assert {name: compiled[f"jit({name})"] for name in names} == {"train": 4, "shuffle": 2, "evaluate": 1, "sparse": 1}
