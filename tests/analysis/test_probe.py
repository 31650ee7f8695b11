"""The probe finds what is in the weights, nothing where nothing is, and says where n is too small."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from populations import small_spec, store_zoo
from sklearn.metrics import r2_score

from jaxzoo.analysis.probe import PENALTIES, SHARED_SEEDS, _ridge, _softmax, probe_states, select_states, split_by
from jaxzoo.errors import InputError
from jaxzoo.reading.layout import build_layout
from jaxzoo.reading.selection import Parts, Selection, with_gap

D = 40


def quiet(text):
    pass


LAYOUT = build_layout({"dense1": {"kernel": (D - 4,), "bias": (4,)}})


def planted(models=400, *, shuffle=False, seed=0):
    """States whose weights have, by construction, a number and a class in them, and noise for the rest."""
    draws = np.random.default_rng(seed)
    weights = draws.standard_normal((models, D)).astype(np.float32)
    slope = draws.standard_normal(D)
    table = pd.DataFrame(
        {
            "model": np.arange(models),
            "seed": np.arange(models),
            "epoch": 5,
            "test_accuracy": weights @ slope / 10 + 0.02 * draws.standard_normal(models),
            "train_accuracy": draws.random(models),
            "dropout": draws.choice([0.0, 0.5], models),
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "activation": np.where(weights[:, :3].sum(axis=1) > 0, "tanh", "relu"),
            "initialization": "normal",
            "optimizer": draws.choice(["adam", "sgd"], models),
        }
    )
    if shuffle:
        for name in ("test_accuracy", "activation"):
            table[name] = draws.permutation(table[name])
    table = with_gap(table)
    return Selection(
        table, lambda numbers: LAYOUT, lambda epoch, numbers: weights[numbers], dict(enumerate(range(models)))
    )


def scores(results, features="weights"):
    return results[results["features"] == features].set_index("target")["score"]


def test_what_is_in_the_weights_is_found():
    results = probe_states(planted(), seeds=3, on_step=quiet)
    found = scores(results)
    assert found["test_accuracy"] > 0.98  # 1 - variance of the noise (0.02^2) / variance of the rest (about 0.4)
    assert found["activation"] > 0.75  # of 40 noisy directions three count; chance is 0.5
    assert set(results["target"]) == {"test_accuracy", "generalization_gap", "dropout", "activation", "optimizer"}
    assert (results["states"] == 400).all()


def test_what_is_not_is_chance():
    results = probe_states(planted(shuffle=True), seeds=3, on_step=quiet)
    for features in ("weights", "statistics"):
        found = scores(results, features)
        for target in ("test_accuracy", "dropout"):
            assert -0.3 < found[target] < 0.1
        for target in ("activation", "optimizer"):
            assert found[target] == pytest.approx(0.5, abs=0.12)  # 60 test models, three splits: sd 0.04


def test_ridge_is_the_closed_form_with_each_targets_best_penalty():
    """R^2 on test rows by the normal equations (features centred), the penalty picked on validation rows."""
    draws = np.random.default_rng(0)
    features = draws.standard_normal((120, 60))
    exact = features @ draws.standard_normal(60)
    targets = np.column_stack([exact, exact + 40 * draws.standard_normal(120)])
    part = Parts(*np.split(np.arange(120), [70, 95]))

    def scores(target, penalty, rows):
        centre, mean = features[part.train].mean(axis=0), target[part.train].mean()
        x, y = features[part.train] - centre, target[part.train] - mean
        slope = np.linalg.solve(x.T @ x + penalty * np.eye(60), x.T @ y)
        return r2_score(target[rows], (features[rows] - centre) @ slope + mean)

    best = [max(PENALTIES, key=lambda penalty: scores(target, penalty, part.validation)) for target in targets.T]
    assert best[0] < best[1]
    wanted = [scores(target, penalty, part.test) for target, penalty in zip(targets.T, best, strict=True)]
    np.testing.assert_allclose(_ridge(features, targets, part), wanted, rtol=1e-6)


def test_classes_are_scored_on_models_that_the_probe_never_saw():
    """More noise than states beside what tells the classes: training labels can be learnt by heart, others in part."""
    draws = np.random.default_rng(0)
    features = draws.standard_normal((300, 400))
    labels = np.where(features[:, 0] > 0, "a", "b")
    features[:, 0] *= 4
    part = Parts(*np.split(np.arange(300), [100, 150]))
    assert 0.7 < _softmax(features, labels, part) < 0.96  # of those it has seen: all


def test_no_model_is_in_two_parts_though_it_has_many_states(tmp_path):
    """Weights that tell models apart but nothing else: by state a probe would know every model, by model none."""
    draws = np.random.default_rng(0)
    models, epochs = 60, 5
    weights = 5 * np.repeat(draws.standard_normal((models, 1, D)), epochs, axis=1).astype(np.float32)
    accuracy = draws.random(models)
    rows = [(model, epoch) for epoch in range(epochs) for model in range(models)]
    base = planted(models).table.drop(columns=["epoch", "test_accuracy"]).set_index("model")
    table = pd.DataFrame(rows, columns=["model", "epoch"]).join(base, on="model")
    table["test_accuracy"] = accuracy[table["model"]]
    states = Selection(
        table, lambda numbers: LAYOUT, lambda epoch, numbers: weights[numbers, epoch], dict(enumerate(range(models)))
    )
    assert scores(probe_states(states, seeds=3, on_step=quiet))["test_accuracy"] < 0.2


def test_too_few_models_or_weights_that_are_not_finite_are_one_line(tmp_path):
    with pytest.raises(InputError, match="there are 10 models, expected 20 or more to probe: n is too small"):
        probe_states(planted(10), on_step=quiet)
    states = planted()
    seeds = dict(enumerate(range(400)))
    broken = Selection(
        states.table, lambda numbers: LAYOUT, lambda epoch, numbers: np.full((len(numbers), D), np.nan), seeds
    )
    with pytest.raises(InputError, match="weights are not all finite"):
        probe_states(broken, on_step=quiet)


def test_states_are_spread_over_the_epochs_and_finite(tmp_path):
    spec = small_spec(seeds=2, epochs=11)
    zoo = store_zoo(tmp_path / "z", spec, finite=lambda model, epoch: model == 0)
    states = select_states(zoo)
    assert sorted(states.table["epoch"]) == [1, 3, 5, 7, 9, 11]
    assert set(states.table["model"]) == {0}


def run(*arguments):
    command = [sys.executable, "-m", "jaxzoo", "probe", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_command_line_prints_a_table_and_writes_it(tmp_path):
    spec = small_spec(seeds=15, epochs=2, activation=("tanh", "relu"))
    store_zoo(tmp_path / "z", spec)
    done = run(tmp_path / "z", "--seeds", 2, "--csv", tmp_path / "p.csv")
    assert done.returncode == 0, done.stderr
    assert "60 states of 30 models, epochs 1, 2" in done.stdout
    table = pd.read_csv(tmp_path / "p.csv")
    assert set(table["target"]) == {"test_accuracy", "generalization_gap", "epoch", "activation"}
    row = table[(table["target"] == "activation") & (table["features"] == "weights")].iloc[0]
    assert f"{row['score']:.3f} ± {row['spread']:.3f}" in done.stdout
    assert "jaxzoo probe zoos/digits" in run("--help").stdout
    store_zoo(tmp_path / "few", dataclasses.replace(spec, models=5))
    for arguments, message in (
        ((tmp_path / "nowhere",), "holds no zoo.json"),
        ((tmp_path / "few",), "there are 5 models, expected 20 or more to probe: n is too small"),
        ((tmp_path / "z", "--epochs", "7"), "epoch is 7, expected one of 0..2"),
        ((tmp_path / "z", "--epochs", "one"), "argument --epochs: got 'one', expected numbers as in 10,20"),
        ((tmp_path / "z", "--where", "import os"), "cannot be read"),
        ((tmp_path / "z", "--max-abs-weight", "-1"), "--max-abs-weight: got '-1', expected a number above 0"),
        ((tmp_path / "z", "--csv", tmp_path / "no" / "p.csv", "--seeds", 1), "cannot be written"),
    ):
        bad = run(*arguments)
        assert bad.returncode == 2
        assert bad.stderr.count("\n") == 1, bad.stderr
        assert message in bad.stderr


def test_untrained_models_take_part_only_where_they_are_asked_for(tmp_path):
    """Models of one seed and initialisation are the same vector there: 4 vectors were 128 models."""
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=2, epochs=2))
    assert set(select_states(zoo).table["epoch"]) == {1, 2}
    assert set(select_states(zoo, epochs=[0, 1]).table["epoch"]) == {0, 1}


def seed_is_what_tells(models_per_seed, seeds):
    """States whose weights are those of their seed, with next to no noise, and accuracies that only a seed tells."""
    draws = np.random.default_rng(0)
    models = models_per_seed * seeds
    seed = np.tile(np.arange(seeds), models_per_seed)
    weights = draws.standard_normal((seeds, D)).astype(np.float32)[seed]
    weights += 0.01 * draws.standard_normal((models, D)).astype(np.float32)
    table = planted(models).table.assign(seed=seed, test_accuracy=draws.random(seeds)[seed])
    return Selection(
        table, lambda numbers: LAYOUT, lambda epoch, numbers: weights[numbers], dict(enumerate(seed.tolist()))
    )


def test_a_probe_splits_by_seed_where_each_part_gets_ten_seeds():
    """By model it knows every seed, and scores what it could not know of other seeds."""
    said = []
    states = seed_is_what_tells(4, 100)
    assert split_by(states) == "seed"
    assert scores(probe_states(states, seeds=3, on_step=said.append))["test_accuracy"] < 0.3
    assert SHARED_SEEDS not in said
    few = seed_is_what_tells(20, 20)
    assert split_by(few) == "model"
    assert scores(probe_states(few, seeds=3, on_step=said.append))["test_accuracy"] > 0.9
    assert SHARED_SEEDS in said


def test_models_that_share_no_seed_need_no_word():
    said = []
    probe_states(planted(40), seeds=2, on_step=said.append)  # too few seeds to split by, but one a model
    assert SHARED_SEEDS not in said
