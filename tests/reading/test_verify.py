"""`jaxzoo verify` finds what is missing, damaged, left behind or another zoo's, and nothing in a whole zoo."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from populations import small_spec, store_zoo

from jaxzoo.__main__ import main
from jaxzoo.errors import InputError
from jaxzoo.reading.verify import verify_zoo
from jaxzoo.storage.cohort_store import CohortStore
from jaxzoo.storage.identity import identity_of
from jaxzoo.storage.zoo_folder import cohort_folder

SPEC = small_spec(seeds=2, epochs=3, activation=("tanh", "relu"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return store_zoo(tmp_path_factory.mktemp("verify") / "zoo", SPEC)


@pytest.fixture
def zoo(whole, tmp_path):
    return shutil.copytree(whole.path, tmp_path / "zoo")


def test_a_whole_zoo_has_no_findings(whole, capsys):
    checked = []
    assert list(verify_zoo(whole.path)) == list(verify_zoo(whole.path, deep=True, on_checked=checked.append)) == []
    assert checked == [2] * 8
    assert main(["verify", str(whole.path), "--deep"]) == 0
    assert capsys.readouterr().out == f"{whole.path}: 16 states, no findings (every number read)\n"


def biggest(folder):
    return max(folder.rglob("d/*"), key=lambda path: path.stat().st_size)


def flip(path):
    for file in path.rglob("d/*"):  # in each: of one Orbax may have bytes that nothing reads
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


HURTS = {
    "the weights of epochs 1, 2 are missing; repair makes them again": lambda snapshots: [
        shutil.rmtree(snapshots / name) for name in "12"
    ],
    "is unfinished: holds epochs up to 2 of 3": lambda snapshots: shutil.rmtree(snapshots / "3"),
    "is unfinished: holds no epoch of 3": lambda snapshots: shutil.rmtree(snapshots),
    "holds epochs 9, expected epochs up to 3": lambda snapshots: shutil.copytree(snapshots / "3", snapshots / "9"),
    "cohorts/007: is no cohort of the zoo": lambda snapshots: (snapshots.parents[1] / "007").mkdir(),
    "2.damaged: was damaged and set aside": lambda snapshots: shutil.copytree(snapshots / "2", snapshots / "2.damaged"),
    "4.orbax-checkpoint-tmp: is left of a save": lambda snapshots: (snapshots / "4.orbax-checkpoint-tmp").mkdir(),
    "snapshots/2: is that of epoch 1, expected epoch 2": lambda snapshots: [
        shutil.rmtree(snapshots / "2"),
        shutil.copytree(snapshots / "1", snapshots / "2"),
    ],
    "snapshots/2: cannot be read": lambda snapshots: (snapshots / "2" / "default" / "manifest.ocdbt").write_bytes(b""),
}


@pytest.mark.parametrize(("finding", "hurt"), HURTS.items(), ids=HURTS)
def test_what_is_hurt_is_found(zoo, finding, hurt):
    hurt(cohort_folder(zoo, 1) / "snapshots")
    found = list(verify_zoo(zoo))
    assert any(finding in line for line in found), found
    assert all("\n" not in line for line in found)
    assert all("cohorts/000" not in line for line in found)


@pytest.mark.parametrize("part", ["snapshots", "resume"])
def test_turned_bits_are_found_by_reading_every_number(zoo, part, capsys):
    flip(cohort_folder(zoo, 1) / part / "3")
    assert main(["verify", str(zoo), "--deep"]) == 1
    assert f"cohorts/001/{part}/3: is damaged" in capsys.readouterr().out


def save_last(zoo, whole, change):
    """Saves the last epoch of the first cohort anew, with a change to what it holds."""
    folder = cohort_folder(zoo, 0)
    shutil.rmtree(folder / "snapshots" / "3")
    params = {layer: dict(kinds) for layer, kinds in whole.params(3, models=[0, 1]).items()}
    metrics = {name: whole.metrics_at(3)[name].to_numpy()[:2].copy() for name in whole.metrics.columns[2:]}
    change(params, metrics)
    with CohortStore(folder, identity_of(whole.record, 0, whole.cohorts[0], {})) as store:
        store.save(3, {"params": params}, metrics, [np.int32(0)])


def cut_a_row(params, metrics):
    params["conv1"]["bias"] = params["conv1"]["bias"][:1]


def spoil_a_weight(params, metrics):
    params["conv1"]["bias"] = np.asarray(jnp.asarray(params["conv1"]["bias"]).at[1, 0].set(jnp.nan))


def say_diverged(params, metrics):
    metrics["finite"][0] = False


CHANGES = {
    cut_a_row: "its arrays are not those of the zoo's networks",
    spoil_a_weight: "finite is True of the model in row 1, whose numbers say otherwise",
    say_diverged: "finite is False of the model in row 0, whose numbers say otherwise",
    lambda params, metrics: metrics.pop("finite"): "it has no finite or no train_loss of 2 models",
}


@pytest.mark.parametrize(("change", "finding"), CHANGES.items(), ids=["shape", "weight", "flag", "metric"])
def test_numbers_that_contradict_each_other_are_found(zoo, whole, change, finding):
    save_last(zoo, whole, change)
    (line,) = verify_zoo(zoo, deep=True)
    assert line == f"{cohort_folder(zoo, 0) / 'snapshots' / '3'}: {finding}"


def test_a_folder_that_is_no_zoo_is_bad_input(tmp_path, capsys):
    with pytest.raises(InputError, match=r"holds no zoo\.json"):
        list(verify_zoo(tmp_path))
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("jaxzoo verify: ")
