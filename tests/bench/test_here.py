"""The checks of a device: what is right passes, what is wrong is found, and a candidate that fails is a line."""

import json

import pytest

from jaxzoo.bench import candidates, here
from jaxzoo.commands.bench import main
from jaxzoo.devices import model_mesh
from jaxzoo.training.programs import build_program

WAY = ("lanes", 4)
IMPOSSIBLE = ("lans", 4)


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch):
    for module in (here, candidates):
        monkeypatch.setattr(module, "candidates_for", lambda key, platform: (WAY, IMPOSSIBLE))


def silent(text):
    pass


def test_all_of_it_in_one_command(tmp_path, capsys):
    path = tmp_path / "here.json"
    assert main(["--here", "--quick", "--rounds", "2", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert [row["check"] for row in found["checks"]] == [
        "as on the CPU: logits",
        "as on the CPU: 20 steps",
        "same bits: once more",
        "same bits: alone",
        "same bits: among 7",
        "same bits: cut in three",
    ]
    assert all(row["passed"] is True and row["way"] == "lanes, 4 wide" for row in found["checks"])
    assert [row["largest_difference"] for row in found["checks"][2:]] == [0.0] * 4
    assert 0 < found["checks"][1]["largest_difference"] < 1e-2
    timed, failed = found["rates"]
    assert timed["rounds"] == 2
    assert 0 < timed["lowest"] <= timed["samples_per_s"] <= timed["highest"]
    assert timed["compile_seconds"] > 0
    assert timed["memory_MB"] > 1
    assert (failed["samples_per_s"], failed["rounds"]) == (None, 0)
    assert "cnn-s, lans, 4 wide, seed zoo: engine is 'lans'" in printed
    assert printed.count(" yes") == 6


def test_another_network_on_the_device_is_found(monkeypatch):
    """Its weights after 20 steps are others. The logits, of evaluation, are computed as before."""

    def with_relu(key, engine, lanes, mesh):
        return build_program(
            key._replace(activations=("relu",) if engine == "lanes" else key.activations), engine, lanes, mesh
        )

    monkeypatch.setattr(here, "build_program", with_relu)
    table = here.check_values("cnn-s", model_mesh(), [WAY], silent)
    assert [*table["passed"]] == [True, False]
    assert table["largest_difference"][1] > 0.1


def test_logits_of_less_precision_are_found(monkeypatch):
    """3e-4 is what TF32 would give."""
    true_forward = here.population_forward

    def off_by_a_little(engine, *arguments):
        forward = true_forward(engine, *arguments)
        error = 3e-4 if engine == "lanes" else 0.0
        return lambda *given: ((1 + error) * forward(*given)[0], None)

    monkeypatch.setattr(here, "population_forward", off_by_a_little)
    table = here.check_values("cnn-s", model_mesh(), [WAY], silent)
    assert [*table["passed"]] == [False, True]
    assert table["largest_difference"][0] == pytest.approx(3e-4, rel=0.01)


def test_bits_that_depend_on_company_or_on_cuts_are_found(monkeypatch):
    true_trained = here._trained

    def by_company(program, cohort, state, images, cuts=()):
        weights = true_trained(program, cohort, state, images, cuts)
        return weights + (2e-7 if len(cohort.members) == 7 or cuts else 0.0)

    monkeypatch.setattr(here, "_trained", by_company)
    table = here.check_company("cnn-s", model_mesh(), [WAY, IMPOSSIBLE], silent)
    passed = dict(zip(table["check"], table["passed"], strict=True))
    assert passed == {
        "same bits: once more": True,
        "same bits: alone": True,
        "same bits: among 7": False,
        "same bits: cut in three": False,
        "law 3": False,
    }
    assert "engine is 'lans'" in table["failure"].iloc[-1]


def test_a_check_that_fails_is_status_1(monkeypatch, capsys):
    monkeypatch.setattr(here, "LOGITS_LIMIT", 0.0)
    assert main(["--here", "--quick", "--rounds", "1"]) == 1
    assert capsys.readouterr().out.count(" no\n") == 1


def test_not_a_number_is_never_within_a_limit():
    assert here._checked("cnn-s", WAY, "logits", float("nan"), 1.0)["passed"] is False
