"""The hours of whole zoos, by hand, and what has none."""

import dataclasses

import pandas as pd
import pytest

from jaxzoo.bench.hours import zoo_hours
from jaxzoo.bench.rates import published_subject
from jaxzoo.commands.bench_text import hours_text
from jaxzoo.spec.config import load_spec, published_specs

RATES = {  # samples per second: median, lowest, highest
    "PyTorch, a model per core": (10_000, 8_000, 12_500),
    "lanes, seed zoo": (100_000, 80_000, 125_000),
    "lanes, mixed zoo": (50_000, 40_000, 62_500),
    "twins, variational-dropout": (25_000, 20_000, 50_000),
}


def rates_of(*contenders, architecture="cnn-s"):
    rows = [(architecture, name, *RATES[name], 5) for name in contenders]
    return pd.DataFrame(rows, columns=["architecture", "contender", "samples_per_s", "lowest", "highest", "rounds"])


def hours_of(zoo, *contenders):
    subjects = [published_subject(name) for name in ("cnn-s", "cnn-l")]
    table, left_out = zoo_hours([load_spec(zoo)], subjects, rates_of(*contenders))
    assert left_out == {}
    return {row["way"]: row for row in table.to_dict("records")}


def test_the_hours_of_a_zoo_by_hand():
    """1,000 models of 50,000 images: 2.5e9 samples in 50 epochs, and 1.25e9 of twins in 25."""
    ways = hours_of("mnist-seed", *RATES)
    row = ways["jaxzoo"]
    assert row["rate_of"] == "cnn-s: lanes, seed zoo"
    assert row["models"] == 1000
    dense = [row[f"dense_hours{which}"] for which in ("", "_lowest", "_highest")]
    assert dense == pytest.approx([2.5e9 / rate / 3600 for rate in (100_000, 125_000, 80_000)])
    # 6.94 and 13.89 hours; at best 5.56 and 6.94, at worst 8.68 and 17.36
    both = [row[f"with_twins_hours{which}"] for which in ("", "_lowest", "_highest")]
    assert both == pytest.approx([20.8333, 12.5, 26.0417], abs=1e-3)
    assert row["with_twins_models_per_hour"] == pytest.approx(48)
    assert ways["PyTorch"]["dense_hours"] == pytest.approx(69.4444, abs=1e-3)
    assert ways["PyTorch"]["dense_models_per_hour"] == pytest.approx(14.4)
    assert pd.isna(ways["PyTorch"]["with_twins_hours"])
    assert "torch.func" not in ways  # was not measured


def test_a_grid_has_the_rate_of_the_mixed_zoo_where_that_was_measured():
    dense = 2560 * 50_000 * 50
    assert hours_of("mnist-hyp-10-f", *RATES)["jaxzoo"]["dense_hours"] == pytest.approx(dense / 50_000 / 3600)
    unmixed = [name for name in RATES if "mixed" not in name]
    assert hours_of("mnist-hyp-10-f", *unmixed)["jaxzoo"]["dense_hours"] == pytest.approx(dense / 100_000 / 3600)


def test_only_zoos_of_the_same_network_and_images_have_hours():
    """CNN-s on images of three channels is twice the work of CNN-s on gray ones."""
    specs = [spec for name, spec in published_specs().items() if name != "digits"]
    table, left_out = zoo_hours(specs, [published_subject("cnn-s")], rates_of(*RATES))
    assert table["zoo"].nunique() == 12
    assert len(left_out) == 15
    assert left_out["stl10-small-seed"] == "cnn-s on images 28x28x3 in batches of 10 was not measured"
    assert left_out["cifar10-resnet18"] == "resnet-18 on images 32x32x3 in batches of 256 was not measured"


def test_three_subjects_cover_all_published_zoos_of_cnns():
    names = ("cnn-s", "cnn-s-rgb", "cnn-l")
    rates = pd.concat([rates_of(*RATES, architecture=name) for name in names])
    specs = [spec for name, spec in published_specs().items() if name != "digits"]
    table, left_out = zoo_hours(specs, [published_subject(name) for name in names], rates)
    assert table["zoo"].nunique() == 24
    assert {*left_out} == {"cifar10-resnet18", "cifar100-resnet18", "tiny-imagenet-resnet18"}
    own = table[table["zoo"] == "stl10-small-seed"]
    assert set(own["rate_of"].str.partition(":")[0]) == {"cnn-s-rgb"}


def test_a_zoo_without_twins_and_one_without_a_way_that_was_measured():
    subject = published_subject("cnn-s")
    spec = dataclasses.replace(load_spec("mnist-seed"), twins=None)
    table, _ = zoo_hours([spec], [subject], rates_of(*RATES))
    assert table["with_twins_hours"].isna().all()
    table, left_out = zoo_hours([spec], [subject], rates_of("twins, variational-dropout"))
    assert len(table) == 0
    assert left_out == {"mnist-seed": "none of its ways was measured for cnn-s"}
    assert hours_text(table, left_out) == "no hours for mnist-seed: none of its ways was measured for cnn-s"


def test_the_table_of_hours_has_a_sum_and_says_what_is_missing():
    specs = [load_spec(name) for name in ("mnist-seed", "usps-hyp-10-f", "stl10-large-seed")]
    unmixed = [name for name in RATES if "mixed" not in name]
    text = hours_text(*zoo_hours(specs, [published_subject("cnn-s")], rates_of(*unmixed)))
    lines = text.splitlines()
    assert "69.4 (55.6 to 86.8)" in lines[2]
    assert "20.8 (12.5 to 26.0)" in lines[2]
    assert lines[4].split()[:3] == ["all", "2", "3,560"]
    assert len({len(line) for line in lines[1:5]}) == 1  # aligned
    assert "at the rate of one kind" in lines[5]
    assert lines[-1].startswith("no hours for stl10-large-seed: cnn-l")
    alone = hours_text(*zoo_hours(specs[:1], [published_subject("cnn-s")], rates_of("lanes, seed zoo")))
    assert "with_twins_h" not in alone  # a column that would be empty
    assert "PyTorch" not in alone
