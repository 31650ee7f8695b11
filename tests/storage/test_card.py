"""The card names every hyperparameter, whichever way the spec came to be."""

import dataclasses
from pathlib import Path

from populations import small_spec

from jaxzoo.spec.config import read_config
from jaxzoo.spec.grid import HYPERPARAMETERS
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.card import zoo_card


def test_a_card_names_every_hyperparameter():
    """A spec from TOML has its defaults on the class alone, and they were left out."""
    for spec in (small_spec(), *read_config(Path(__file__).parent / "format-1" / "tiny.toml")):
        card = zoo_card(plan_zoo(spec), [2464])
        for name in HYPERPARAMETERS:
            assert f"| {name} | " in card, (spec.name, name)


def test_a_card_says_which_epochs_and_which_seeds_are_there():
    """It said "every one of their 50 epochs" under --keep-epochs last, and "seeds 1 to 1,000" of 32 models."""
    spec = small_spec(seeds=1000, epochs=50, activation=("tanh", "relu"))
    some = plan_zoo(dataclasses.replace(spec, models=64))
    assert "| seeds | 32 from 1 to 32 |" in zoo_card(some, [2464])
    assert "| seeds | 1, 2 |" in zoo_card(plan_zoo(dataclasses.replace(spec, models=4)), [2464])
    one = zoo_card(plan_zoo(dataclasses.replace(spec, models=1)), [2464])
    assert "| activation | tanh |" in one or "| activation | relu |" in one
    assert "weights of every epoch from 0 to 50" in zoo_card(some, [2464])
    assert "weights of the epochs 49, 50 and the metrics of every epoch" in zoo_card(some, [2464], kept=())
    assert "weights of the epochs 0, 10, 49, 50 and" in zoo_card(some, [2464], kept=(10, 0))
    twins = zoo_card(some, [2464], kept=(0,), twin=TwinSpec(method="magnitude", epochs=3))
    assert "weights of the epochs 0, 2, 3 and" in twins
    assert "sparse twins by 3 epochs of magnitude pruning" in twins
