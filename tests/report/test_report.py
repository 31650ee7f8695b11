"""The report says what the zoo holds, on one page that needs nothing else; what cannot be said is a note."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from bokeh.models import PlainText
from contents import HOSTILE, hostile_content, make_content
from PIL import Image
from populations import small_spec, store_zoo, write_digits_config

from jaxzoo.analysis.predict import predict_classes
from jaxzoo.datasets import load_images
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.report import charts
from jaxzoo.report.content import collect
from jaxzoo.report.controls import color_choices, controls, levels_of, share
from jaxzoo.report.page import build_page
from jaxzoo.report.pictures import save_pictures
from jaxzoo.spec.config import read_config
from jaxzoo.spec.grid import INITIALIZATIONS
from jaxzoo.training.zoo import generate


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A real one with its twins."""
    folder = tmp_path_factory.mktemp("zoo")
    (spec,) = read_config(write_digits_config(folder / "z.toml", epochs="2", twins="{ epochs = 2 }"))
    return generate(spec, folder / "z", twins="magnitude")


@pytest.fixture(scope="module")
def images(zoo):
    images = load_images(zoo.spec.dataset)
    return ((images.test.pixels / 255 - images.mean) / images.std).astype(np.float32)


@pytest.fixture(scope="module")
def content(zoo, images):
    return collect(zoo, images, with_probe=True)


def test_the_tables_are_those_of_the_zoo(zoo, images, content):
    last = zoo.metrics_at(2)
    np.testing.assert_array_equal(content.models["test_accuracy"], last["test_accuracy"])
    gap = last["train_accuracy"] - last["test_accuracy"]
    np.testing.assert_allclose(content.models["generalization_gap"], gap)
    assert content.varying == ("optimizer",)
    twins = zoo.twins["magnitude"]
    table = content.twins["magnitude"]
    np.testing.assert_array_equal(table["test_accuracy"], twins.metrics_at(2)["test_accuracy"])
    np.testing.assert_array_equal(table["parent_accuracy"], last["test_accuracy"])
    alike = (predict_classes(zoo, images, 2) == predict_classes(twins, images, 2)).mean(axis=1)
    np.testing.assert_allclose(table["agreement"], alike)
    pairs = content.diversity.set_index("quantity")
    weights = zoo.weights(2)
    distances = [np.linalg.norm(weights[a] - weights[b]) for a in range(4) for b in range(a)]
    assert pairs.loc["l2 distance of weights", "q50"] == pytest.approx(np.median(distances), rel=1e-6)
    assert pairs.loc["l2 distance of weights", "pairs"] == 6
    assert "No probe: there are 4 models, expected 20 or more to probe: n is too small." in content.notes


def test_the_projection_is_the_one_of_the_singular_value_decomposition(zoo, content):
    weights = zoo.weights(2).astype(float)
    left, sizes, _ = np.linalg.svd(weights - weights.mean(axis=0), full_matrices=False)
    places = content.models[["x", "y"]].to_numpy()
    np.testing.assert_allclose(np.abs(places), np.abs(left[:, :2] * sizes[:2]), rtol=1e-3, atol=1e-4)  # float32, signs
    np.testing.assert_allclose(content.explained, (sizes**2 / (sizes**2).sum())[:2], rtol=1e-3)


def test_the_page_needs_nothing_else(content):
    page = build_page(content)
    outside = re.sub(r"(<(script|style)[^>]*>).*?</\2>", r"\1", page, flags=re.DOTALL)  # the library's own text
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", outside)
    assert len(tags) >= 3
    assert all("href=" not in tag or 'href="data:,"' in tag for tag in tags)
    assert all("src=" not in tag for tag in tags)
    for text in ("Sparse twins: magnitude", zoo_facts(content), "Diversity at the last epoch"):
        assert text in page
    assert "test accuracy lower by" in page


def zoo_facts(content):
    return f'<td class="fact">{content.facts["digest"]}</td>'


def test_a_name_in_a_page_is_text(tmp_path):
    spec = small_spec(seeds=2)
    content = collect(store_zoo(tmp_path / "z", spec), None)
    page = build_page(content._replace(name="<script>alert(1)</script>"))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_no_string_of_a_zoo_is_html_or_a_formula(tmp_path):
    content = hostile_content()
    page = build_page(content)
    outside = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    assert "<img" not in outside
    assert "&lt;img src=x onerror=" in outside
    shared = share(content)
    widgets = controls(content, shared)
    assert "<img" not in widgets["key"].text
    assert widgets["key"].disable_math
    labels = dict(widgets["filter_initialization"].options)
    assert set(labels) == set(HOSTILE)  # the values, which are compared with the models' own
    assert all("<" not in label for label in labels.values())
    assert all("<" not in column.title for column in charts.members_table(content, shared).columns)
    chart = charts.by_hyperparameter(content, shared, "initialization")
    # a string would be looked through for formulas
    assert all(isinstance(label, PlainText) for label in chart.xaxis[0].major_label_overrides.values())
    assert isinstance(charts.by_hyperparameter(content, shared, HOSTILE[0]).xaxis[0].axis_label, PlainText)
    save_pictures(content._replace(varying=("initialization",), trajectories={}), tmp_path)


def test_the_axes_of_twins_fit_the_points_and_are_the_same():
    (table,) = make_content().twins.values()
    chart = charts.twin_against_parent(table)
    shown = table[["parent_accuracy", "test_accuracy"]].to_numpy()
    low, high = chart.x_range.start, chart.x_range.end
    assert (chart.y_range.start, chart.y_range.end) == (low, high)
    assert low < shown.min() < shown.max() < high
    assert high - low < 1.2 * (shown.max() - shown.min())
    assert chart.renderers[0].data_source.data["x"] == [low, high]  # the diagonal
    assert charts.limits_of(np.array([np.nan])) == (0, 1)
    low, high = charts.limits_of(np.array([0.5, np.nan, 0.5]))
    assert low < 0.5 < high


@pytest.mark.parametrize(
    ("levels", "labels", "turned"),
    [
        (("relu", "tanh"), ["relu", "tanh"], False),
        (INITIALIZATIONS[:4], ["uniform", "normal", "kaiming\nuniform", "kaiming\nnormal"], False),
        (tuple(f"0.000{rate}" for rate in range(10, 22)), [f"0.000{rate}" for rate in range(10, 22)], True),
        (("a" * 60, "b"), ["a" * 17 + "…", "b"], True),
    ],
)
def test_labels_stand_beside_each_other_or_are_turned(levels, labels, turned):
    assert charts.axis_labels(levels) == (labels, turned)


def test_an_axis_of_many_levels_labels_some_of_them():
    content = make_content(count=100)
    content = content._replace(models=content.models.assign(learning_rate=np.arange(100) % 40 / 10_000))
    chart = charts.by_hyperparameter(content, share(content), "learning_rate")
    assert 8 <= len(chart.xaxis[0].ticker.ticks) <= charts.MOST_LABELS


def test_drawn_numbers_are_put_into_eighths():
    rates = pd.Series(np.geomspace(1e-4, 1e-1, 100), name="learning_rate")
    texts, indices = levels_of(rates)
    assert len(texts) == 8
    assert (texts[0], texts[-1]) == ("0.0001 to 0.000237", "0.0422 to 0.1")
    assert (np.diff(indices) >= 0).all()
    assert np.bincount(indices).tolist() == [13, 12, 13, 12, 12, 13, 12, 13]
    content = make_content(count=100)
    content = content._replace(models=content.models.assign(learning_rate=rates), varying=("learning_rate",))
    source = share(content).source
    assert set(source.data["learning_rate"]) == set(texts)
    positions = source.data["position_learning_rate"]
    np.testing.assert_array_equal(np.floor(positions), indices)


def test_the_columns_of_members_fill_the_page(content):
    for each in (content, make_content(("a", "b"))):
        table = charts.members_table(each, share(each))
        assert charts.PAGE_WIDTH - len(table.columns) <= sum(column.width for column in table.columns)


def test_scores_of_a_target_stand_side_by_side():
    probe = pd.DataFrame(
        [("epoch", "weights", "R^2", -0.5, 0.1, 0.0, 96), ("epoch", "statistics", "R^2", 0.25, np.nan, 0.0, 96)],
        columns=["target", "features", "measure", "score", "spread", "chance", "states"],
    )
    page = build_page(make_content()._replace(probe=probe))
    row = re.search(r"<tr><td>epoch, R².*?</tr>", page)
    assert re.sub("<.*?>", " ", row.group()).split() == [
        "epoch,",
        "R²",
        "0.000",
        "\N{MINUS SIGN}0.500",
        "±",
        "0.100",
        "0.250",
    ]


def test_colors_are_of_the_values_they_stand_for(content):
    shared = share(content)
    data = shared.source.data
    for name in color_choices(content):
        colors = dict(zip(content.models[name], data[f"color_{name}"], strict=True))
        assert len(set(colors.values())) == min(len(colors), len(set(content.models[name])))
    order = np.argsort(content.models["test_accuracy"])
    assert data["color_test_accuracy"][order.iloc[0]] == "#440154"  # viridis, from its lowest
    assert data["color_test_accuracy"][order.iloc[-1]] == "#FDE724"  # to its highest


def test_what_cannot_be_said_is_a_note(tmp_path):
    spec = small_spec(seeds=5, epochs=1)
    broken = store_zoo(tmp_path / "z", spec, scale=float("nan"), finite=lambda model, epoch: False)
    content = collect(broken, None)
    assert content.models["x"].isna().all()
    assert any(note.startswith("Weights are not shown in two dimensions: n = 0") for note in content.notes)
    assert any(note.startswith("Models are not compared: n = 0") for note in content.notes)
    assert any(note.startswith("No probe: ") for note in content.notes)
    assert "Predictions are not compared: the images are not at hand." in content.notes
    save_pictures(content, tmp_path / "pictures")
    one = collect(store_zoo(tmp_path / "one", small_spec(seeds=1, epochs=1)), None)
    assert "1 of 1 models" in build_page(one)


def test_twins_just_begun_are_a_note(zoo, tmp_path):
    shutil.copytree(zoo.path, tmp_path / "z")
    shutil.rmtree(tmp_path / "z" / "twins" / "magnitude" / "cohorts")
    content = collect(open_zoo(tmp_path / "z"), None, with_probe=False)
    assert content.twins == content.trajectories == {}
    assert "Twins by magnitude have no epoch yet that all cohorts hold." in content.notes
    build_page(content)


def test_the_pictures_are_there_and_not_empty(content, tmp_path):
    paths = save_pictures(content, tmp_path / "pictures")
    assert {path.name for path in paths} == {"accuracy.png", "by-optimizer.png", "weights.png", "twins-magnitude.png"}
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("L"))
        assert pixels.shape == (800, 1280)
        assert 0.002 < (pixels < 250).mean() < 0.5


def run(*arguments):
    command = [sys.executable, "-m", "jaxzoo", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_command_line_writes_the_page(zoo, tmp_path):
    done = run(zoo.path, "--out", tmp_path / "r.html", "--png", tmp_path / "pictures", "--no-probe")
    assert done.returncode == 0, done.stderr
    assert "r.html: " in done.stdout
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "pictures" / "accuracy.png").exists()
    twins = run(zoo.path / "twins" / "magnitude", "--out", tmp_path / "t.html", "--no-probe")
    assert twins.returncode == 0, twins.stderr
    for arguments, message in (
        ((tmp_path / "nowhere",), "nowhere: holds no zoo.json"),
        ((zoo.path, "--no-probe", "--out", tmp_path / "no" / "r.html"), "r.html: cannot be written"),
    ):
        bad = run(*arguments)
        assert bad.returncode == 2
        assert bad.stderr.count("\n") == 1, bad.stderr
        assert message in bad.stderr


def test_a_partial_zoo_is_reported_as_far_as_it_is(tmp_path):
    """Cohorts at different epochs had no epoch in common, and no report."""
    path = store_zoo(tmp_path / "z", small_spec(seeds=2, epochs=5, activation=("tanh", "relu"))).path
    for cohort, epochs in ((0, {4, 5}), (1, {2, 3})):
        for epoch in {*range(6)} - epochs:
            shutil.rmtree(path / "cohorts" / f"00{cohort}" / "snapshots" / str(epoch))
    images = np.random.default_rng(0).standard_normal((4, 28, 28, 1)).astype(np.float32)
    content = collect(open_zoo(path, partial=True), images, with_probe=False)
    assert content.models["model"].tolist() == [0, 1, 2, 3]
    assert content.models["epoch"].tolist() == [5, 5, 3, 3]
    assert np.isfinite(content.models[["x", "y"]]).all(axis=None)
    assert content.diversity.set_index("quantity").loc["agreement of predictions", "pairs"] == 6
    assert "1 of 4" not in build_page(content)
    done = run(path, "--no-probe", "--out", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
