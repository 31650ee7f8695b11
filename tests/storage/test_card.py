"""The card names every hyperparameter, whichever way the spec came to be."""

from pathlib import Path

from populations import small_spec

from jaxzoo.spec.config import read_config
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.zoo_spec import HYPERPARAMETERS
from jaxzoo.storage.card import zoo_card


def test_a_card_names_every_hyperparameter():
    """A spec from TOML has its defaults on the class alone, and they were left out."""
    for spec in (small_spec(), *read_config(Path(__file__).parent / "format-1" / "tiny.toml")):
        card = zoo_card(plan_zoo(spec), 2464)
        for name in HYPERPARAMETERS:
            assert f"| {name} | " in card, (spec.name, name)
