"""A zoo that grows ends in the bits of one that was made at once, and nothing that it held is touched."""

import dataclasses
import shutil

import numpy as np
import pytest
from populations import write_digits_config

import jaxzoo
from jaxzoo.__main__ import main
from jaxzoo.commands.progress import twins_summary
from jaxzoo.errors import InputError
from jaxzoo.report.content import collect
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.seeds import SeedDraw, SeedRange
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage import growth
from jaxzoo.storage.record import read_record
from jaxzoo.training import twin_records
from jaxzoo.training.checks import check_generate
from jaxzoo.training.events import EpochSaved, Interrupted, Notice
from jaxzoo.training.zoo import generate, make_twins

# (models, epochs) of the calls that make a zoo in steps, and of one that makes it at once
STEPS, WHOLE = ((2, 1), (3, 1), (3, 2), (6, 2)), (6, 2)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """2 optimizers x 3 seeds, in two cohorts at least, with twins by magnitude for 2 epochs."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    values = {"batch_size": "60", "epochs": "2", "seeds": "{ first = 1, last = 3 }", "rate": "[3e-3]"}
    (spec,) = jaxzoo.read_config(write_digits_config(path, twins='{ method = "magnitude", epochs = 2 }', **values))
    return spec


def call(spec, folder, step, **options):
    models, epochs = step
    return generate(spec, folder, models=models, epochs=epochs, **options)


@pytest.fixture(scope="module")
def at_once(spec, tmp_path_factory):
    return call(spec, tmp_path_factory.mktemp("once") / "z", WHOLE)


@pytest.fixture(scope="module")
def grown(spec, tmp_path_factory):
    """The folder of a zoo that grew; after every step all that it had held lay there, byte for byte."""
    folder = tmp_path_factory.mktemp("grown") / "z"
    for step in STEPS:
        before = numbers_of(folder)
        call(spec, folder, step)
        after = numbers_of(folder)
        name = "twins/magnitude-of-epoch-1/" if step == (3, 2) else "twins/magnitude/"
        assert {path.replace("twins/magnitude/", name): data for path, data in before.items()}.items() <= after.items()
    return folder


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def numbers_of(folder):
    """The files of all snapshots."""
    return {path: data for path, data in files_of(folder).items() if "/snapshots/" in path}


def numbers_by_member(zoo, epoch):
    """Weights and metrics by grid point and seed."""
    columns = [name for name in zoo.members.columns if name not in ("model", "cohort", "row")]
    metrics = zoo.metrics_at(epoch).drop(columns=["model", "epoch"])
    rows = zip(zoo.weights(epoch), metrics.itertuples(index=False), strict=True)
    return dict(zip(zoo.members[columns].itertuples(index=False, name=None), rows, strict=True))


def assert_same_by_member(zoo, other):
    assert zoo.epochs == other.epochs
    for epoch in zoo.epochs:
        got, wanted = numbers_by_member(zoo, epoch), numbers_by_member(other, epoch)
        assert got.keys() == wanted.keys()
        for member, (weights, metrics) in wanted.items():
            np.testing.assert_array_equal(got[member][0], weights)
            assert got[member][1] == metrics
    for name in other.twins:
        assert_same_by_member(zoo.twins[name], other.twins[name])


def test_a_zoo_grown_in_steps_has_the_bits_of_one_made_at_once(grown, at_once):
    zoo = jaxzoo.open_zoo(grown)
    assert_same_by_member(zoo, at_once)
    assert zoo.spec.digest == at_once.spec.digest
    assert [(stage.models, stage.epochs) for stage in zoo.record.stages] == [*STEPS]
    assert len(zoo.cohorts) > len(at_once.cohorts)
    assert zoo.members["model"].tolist() == [*range(6)]
    assert [*zoo.twins] == ["magnitude", "magnitude-of-epoch-1"]
    older = zoo.twins["magnitude-of-epoch-1"]
    assert (older.record.parent.epoch, len(older.members), older.epochs) == (1, 3, (0, 1))
    np.testing.assert_array_equal(older.weights(0), zoo.weights(1, models=[0, 1, 2]))  # magnitude begins as its parent
    assert zoo.twins["magnitude"].record.parent.epoch == 2


def test_a_grown_zoo_is_whole_and_says_what_it_is(grown, capsys):
    assert [*jaxzoo.verify_zoo(grown, deep=True)] == []
    assert main(["verify", str(grown)]) == 0
    states = 6 * 3 + 6 * 3 + 3 * 2  # with the older twins
    assert f"{states} states, no findings" in capsys.readouterr().out
    card = (grown / "README.md").read_text()
    assert "6 models of cnn-s" in card
    assert "every epoch from 0 to 2" in card
    assert "6 models" in (grown / "twins" / "magnitude" / "README.md").read_text()


@pytest.mark.parametrize("step", STEPS)
def test_the_commands_that_a_zoo_grew_by_change_no_byte(spec, grown, step):
    before, events = files_of(grown), []
    for options in ({}, {"twins": TwinSpec(method="magnitude", epochs=step[1])}):
        call(spec, grown, step, on_event=events.append, **options)
    assert not [event for event in events if isinstance(event, Notice | EpochSaved)]
    assert files_of(grown) == before
    assert not list(grown.rglob("*.partial"))


def test_what_lists_twins_takes_older_ones_by_their_name(grown, tmp_path):
    zoo, notices = jaxzoo.open_zoo(grown), []
    folders = jaxzoo.export_zoo(zoo, tmp_path / "z", "numpy", on_notice=notices.append)
    assert [folder.name for folder in folders] == ["z", "z-magnitude"]
    assert notices == [f"{zoo.twins['magnitude-of-epoch-1'].path}: has no twin of model 3, and is left out"]
    folders = jaxzoo.export_zoo(zoo, tmp_path / "three", "numpy", models=[0, 1, 2])
    assert [folder.name for folder in folders] == ["three", "three-magnitude", "three-magnitude-of-epoch-1"]
    back = jaxzoo.import_zoo(tmp_path / "three", tmp_path / "back", "numpy")
    assert [*back.twins] == ["magnitude"]
    content = collect(zoo, None, with_probe=False)
    assert [*content.twins] == ["magnitude"]
    assert "Twins by magnitude-of-epoch-1 are not shown: they were made of epoch 1." in content.notes
    older = zoo.twins["magnitude-of-epoch-1"]
    lost = (zoo.metrics_at(1)["test_accuracy"][:3] - older.metrics_at(1)["test_accuracy"]).median()
    assert f"{abs(lost):.3f} {'below' if lost >= 0 else 'above'} the parents'" in twins_summary(zoo, older)


def test_a_growth_is_said_and_planned(spec, grown, tmp_path):
    shutil.copytree(grown, tmp_path / "z")
    more = dataclasses.replace(spec, seeds=SeedRange(first=1, last=4))
    job = check_generate(more, tmp_path / "z", models=8, epochs=3, twins="none")
    assert job.plan.members[:6] == read_record(grown).plan.members
    assert [len(job.held(cohort, None)) for cohort in job.plan.cohorts[-3:]] == [3, 0, 0]
    assert files_of(tmp_path / "z") == files_of(grown)  # so far nothing is written
    events = []
    last = len(job.plan.cohorts) - 1
    zoo = generate(
        more, tmp_path / "z", models=8, epochs=3, twins="none", cohorts=range(last, last + 1), on_event=events.append
    )
    (text,) = [event.text for event in events if isinstance(event, Notice)]
    assert text.endswith("z: grows: models is 6, now 8; epochs is 2, now 3; last_seed is 3, now 4")
    assert zoo.epochs == ()  # a new cohort holds none yet
    partial = jaxzoo.open_zoo(zoo.path, partial=True)
    assert partial.epochs == (0, 1, 2, 3)
    assert len(partial.models_at(2)) == 7
    findings = [*jaxzoo.verify_zoo(zoo.path)]
    assert len(findings) == last
    assert all("is unfinished" in line for line in findings)
    # twins of epoch 2 are there, of fewer models, and no call has asked for others
    assert zoo.twins["magnitude"].record.parent.epoch == 2


def test_drawn_seeds_grow_and_training_without_resume_is_done_again(spec, tmp_path):
    drawn = dataclasses.replace(spec, seeds=None, drawn_seeds=SeedDraw(count=1, below=99), twins=None)
    folder = tmp_path / "z"
    generate(drawn, folder, epochs=1)
    for path in [*folder.glob("cohorts/*/resume")]:
        shutil.rmtree(path)
    before, events = numbers_of(folder), []
    more = dataclasses.replace(drawn, drawn_seeds=SeedDraw(count=2, below=99))
    zoo = generate(more, folder, on_event=events.append)
    assert before.items() <= numbers_of(folder).items()
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert "seed_count is 1, now 2" in notices[0]
    assert ["no resume/ that training goes on from: it trains again" in text for text in notices[1:]] == [True, True]
    assert_same_by_member(zoo, generate(more, tmp_path / "once"))


class Killed(BaseException):
    """As a kill at that moment: nothing that comes after it is done."""


def kill(*arguments, **options):
    raise Killed


KILLS = {
    "between members.msgpack and zoo.json": lambda patch: patch.setattr(growth.ZooRecord, "to_json", kill),
    "before the older twins are renamed": lambda patch: patch.setattr(twin_records, "make_room", kill),
    "after the older twins are renamed": lambda patch: patch.setattr(twin_records, "begin_zoo", kill),
    "before the record of twins grows": lambda patch: patch.setattr(twin_records, "replace_description", kill),
}
KILLED_IN = {
    (3, 1): ("between members.msgpack and zoo.json", "before the record of twins grows"),
    (3, 2): (
        "between members.msgpack and zoo.json",
        "before the older twins are renamed",
        "after the older twins are renamed",
    ),
    (6, 2): ("between members.msgpack and zoo.json", "before the record of twins grows"),
}


def killed(name, monkeypatch, spec, folder, step):
    """Makes a call that ends at that moment."""
    with monkeypatch.context() as patch:
        KILLS[name](patch)
        with pytest.raises(Killed):
            call(spec, folder, step)


def test_killed_at_any_moment_of_its_growth_it_goes_on_and_ends_in_the_same_bits(spec, at_once, tmp_path, monkeypatch):
    folder = tmp_path / "z"
    call(spec, folder, STEPS[0])
    for step, names in KILLED_IN.items():
        before = read_record(folder)
        for name in names:
            killed(name, monkeypatch, spec, folder, step)
            zoo = jaxzoo.open_zoo(folder)
            assert (zoo.record == before) == ("zoo.json" in name)
            assert all(len(each.members) >= 2 for each in zoo.twins.values())
        for stop_after in (1, 3):
            stop_in(spec, folder, step, stop_after)
        call(spec, folder, STEPS[0])  # the first command goes on with what there is now
        call(spec, folder, step)
    assert_same_by_member(jaxzoo.open_zoo(folder), at_once)
    assert [*jaxzoo.verify_zoo(folder, deep=True)] == []


def test_after_a_growth_that_was_cut_short_the_first_command_finds_its_zoo(spec, tmp_path, monkeypatch):
    folder = tmp_path / "z"
    call(spec, folder, STEPS[0])
    before = files_of(folder)
    killed("between members.msgpack and zoo.json", monkeypatch, spec, folder, WHOLE)
    cut = files_of(folder)
    assert {name for name, data in cut.items() if before.get(name) != data} == {"members.msgpack", "README.md"}
    assert call(spec, folder, STEPS[0]).members["model"].tolist() == [0, 1]
    assert files_of(folder) == cut


def stop_in(spec, folder, step, stop_after):
    """Ends a call while it trains, as a signal does."""
    saved = []

    def note(event):
        saved.extend([event] if isinstance(event, EpochSaved) else [])

    try:
        call(spec, folder, step, on_event=note, should_stop=lambda: len(saved) >= stop_after)
    except Interrupted:
        assert len(saved) >= stop_after


REFUSED = {
    r"holds another zoo: grid.learning_rate is \(0.003,\), got \(0.003, 0.01\); expected the same or another folder": (
        lambda spec: {"grid": dataclasses.replace(spec.grid, learning_rate=(3e-3, 1e-2))}
    ),
    "holds another zoo: seeds.first is 1, got 2; seeds.last is 3, got 4; expected": (
        lambda spec: {"seeds": SeedRange(first=2, last=4)}
    ),
    r"holds another zoo: .*drawn_seeds is None, got": lambda spec: {
        "seeds": None,
        "drawn_seeds": SeedDraw(count=9, below=99),
    },
    "holds another zoo: batch_size is 60, got 61; expected": lambda spec: {"batch_size": 61, "epochs": 9},
}


@pytest.mark.parametrize(("message", "change"), REFUSED.items(), ids=["grid", "first", "draw", "batch"])
def test_what_may_not_grow_is_one_line_and_touches_nothing(spec, grown, message, change):
    before = files_of(grown)
    with pytest.raises(InputError, match=message):
        generate(dataclasses.replace(spec, **change(spec)), grown)
    assert files_of(grown) == before


def test_a_growth_that_does_not_fit_is_one_line_and_touches_nothing(spec, grown, monkeypatch):
    before, more = files_of(grown), dataclasses.replace(spec, seeds=SeedRange(first=1, last=40))
    images = jaxzoo.load_images(spec.dataset)
    with monkeypatch.context() as patch:
        patch.setattr("jaxzoo.training.fitting.models_that_fit", lambda kinds, wanted, **options: 3)
        with pytest.raises(InputError, match="a cohort has 37 models, expected at most 3, what the memory here holds"):
            generate(more, grown)
        patch.setattr(
            "jaxzoo.training.zoo.load_images", lambda *given, **options: images._replace(fingerprint="f" * 64)
        )
        with pytest.raises(InputError, match="was made of images of fingerprint"):
            generate(more, grown)
    with pytest.raises(InputError, match=r"cohorts are 99:100, expected a part of 0:\d"):
        generate(more, grown, cohorts=range(99, 100))
    with pytest.raises(InputError, match="was begun with 16 lanes, got 8, expected the same"):
        generate(more, grown, lanes=8)
    with pytest.raises(InputError, match=r"was begun with kept epochs None, got \(\), expected the same"):
        generate(more, grown, keep_epochs="last")
    assert files_of(grown) == before


def test_with_one_cycle_models_grow_and_epochs_do_not(spec, tmp_path):
    cycle = dataclasses.replace(spec, schedule=Schedule(kind="one-cycle"), twins=None)
    call(cycle, tmp_path / "z", (2, 1))
    before = files_of(tmp_path / "z")
    with pytest.raises(
        InputError, match="epochs is 1, got 2: a schedule of kind 'one-cycle' depends on how many there"
    ):
        call(cycle, tmp_path / "z", (3, 2))
    assert files_of(tmp_path / "z") == before
    zoo = call(cycle, tmp_path / "z", (6, 1))
    assert_same_by_member(zoo, call(cycle, tmp_path / "once", (6, 1)))


def test_kept_epochs_stay_as_they_were_begun(spec, tmp_path):
    folder = tmp_path / "z"
    call(spec, folder, (2, 1), keep_epochs="last")
    zoo = generate(spec, folder, models=2, epochs=4, keep_epochs="last")
    assert zoo.epochs == (3, 4)
    assert sorted(zoo.metrics["epoch"].unique()) == [0, 1, 2, 3, 4]
    assert [*zoo.twins] == ["magnitude", "magnitude-of-epoch-1"]
    assert [*jaxzoo.verify_zoo(folder, deep=True)] == []  # the parents of the older twins were let go


def test_twins_made_afterwards_make_room_too_and_of_a_growing_zoo_they_wait(spec, tmp_path):
    folder, magnitude = tmp_path / "z", TwinSpec(method="magnitude", epochs=1)
    call(spec, folder, (2, 1), twins=magnitude)
    call(spec, folder, (2, 2), twins="none", cohorts=range(1))
    assert [*jaxzoo.open_zoo(folder).twins] == ["magnitude"]
    with pytest.raises(InputError, match=r"cohort 1 holds epochs up to 1, expected it finished \(2\)"):
        make_twins(folder, magnitude)
    call(spec, folder, (2, 2), twins="none")
    twins = make_twins(folder, TwinSpec(method="magnitude", sparsity=0.5))
    assert (twins.record.twin.epochs, twins.record.parent.epoch) == (2, 2)
    zoo = jaxzoo.open_zoo(folder)
    assert [*zoo.twins] == ["magnitude", "magnitude-of-epoch-1"]
    assert zoo.twins["magnitude-of-epoch-1"].record.twin == magnitude
    generate(spec, folder, models=2, epochs=2, twins="none", licence="mit")
    assert {each.record.licence for each in (jaxzoo.open_zoo(folder), *jaxzoo.open_zoo(folder).twins.values())} == {
        "mit"
    }


def test_a_folder_in_the_way_of_older_twins_is_one_line(spec, tmp_path):
    folder = tmp_path / "z"
    call(spec, folder, (1, 1))
    (folder / "twins" / "magnitude-of-epoch-1").mkdir()
    before = files_of(folder)
    with pytest.raises(InputError, match="magnitude-of-epoch-1: is there, expected no such folder"):
        call(spec, folder, (1, 2))
    assert files_of(folder) == before
