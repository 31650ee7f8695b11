"""A Flax module in a spec: what is written of it, what its grid leaves out, and that other specs stay as they were."""

import dataclasses

import pytest
from flax_modules import Plain, module_spec
from populations import small_spec

from jaxzoo.errors import InputError
from jaxzoo.spec.draws import Draws
from jaxzoo.spec.grid import Grid
from jaxzoo.spec.layers import keeps_statistics, module_of, weight_names
from jaxzoo.spec.module import FlaxModule, ModuleLayer, names_of_layers
from jaxzoo.spec.needs import draws_weights, takes_activation
from jaxzoo.spec.plan import plan_zoo, trajectory_digest
from jaxzoo.spec.points import Points
from jaxzoo.spec.tables import full_table, read_table
from jaxzoo.spec.zoo_spec import ZooSpec

NETWORK = FlaxModule(
    name="Net",
    settings={"width": "16"},
    shapes={"params/Dense_0/kernel": [784, 10], "params/Dense_0/bias": [10], "batch_stats/norm/mean": [3]},
)
WORDS = {"optimizer": "adam", "learning_rate": 1e-3}


def spec_of(network):
    return dataclasses.replace(module_spec(), network=network)


def test_a_spec_with_a_module_comes_back_from_its_table():
    spec = spec_of(NETWORK)
    table = full_table(spec)
    assert table["architecture"] == "Net"
    assert table["network"]["shapes"]["params/Dense_0/kernel"] == [784, 10]
    back = read_table(table, ZooSpec)
    assert back == spec
    assert back.digest == spec.digest
    assert [*back.network.shapes] == [*NETWORK.shapes]  # in their order, which is that of the columns
    assert weight_names(spec.layers) == ("Dense_0",)
    assert keeps_statistics(spec.layers)
    assert not takes_activation(spec.layers) | draws_weights(spec.layers)


def test_everything_that_is_known_of_a_module_is_in_the_digests_but_the_module():
    spec, held = spec_of(NETWORK), spec_of(dataclasses.replace(NETWORK, module=Plain()))
    assert held == spec
    assert (held.digest, trajectory_digest(held)) == (spec.digest, trajectory_digest(spec))
    # compiled programs are kept by their layers, and are those of one module
    assert held.layers != spec.layers
    assert held.layers == spec_of(held.network).layers
    assert ModuleLayer(NETWORK) != ModuleLayer(dataclasses.replace(NETWORK, module=Plain()))
    for changes in ({"name": "Other"}, {"settings": {}}, {"shapes": NETWORK.shapes[:2]}):
        other = spec_of(dataclasses.replace(NETWORK, **changes))
        assert other.digest != spec.digest
        assert trajectory_digest(other) != trajectory_digest(spec)


def test_members_of_a_module_have_no_activation_and_no_initialization():
    table = Points(text="seed,optimizer,learning_rate\n1,adam,0.001\n")
    by_draws = {"grid": None, "seeds": None, "draws": Draws(models=1, **WORDS)}
    for changes in ({}, {"grid": None, "seeds": None, "points": table}, by_draws):
        member, *_ = plan_zoo(dataclasses.replace(spec_of(NETWORK), **changes)).members
        assert [member.hyperparameters[name] for name in ("activation", "initialization")] == ["none", "none"]


def test_a_spec_of_layers_needs_both():
    for name in ("activation", "initialization"):
        words = {"activation": "tanh", "initialization": "normal", **WORDS}
        del words[name]
        rows = Points.of([{"seed": 1, **words}])
        for source, given in {"grid": Grid(**words), "draws": Draws(models=1, **words), "points": rows}.items():
            seeds = small_spec().seeds if source == "grid" else None
            with pytest.raises(InputError, match=rf"^{source}.{name} is missing, expected one of: ") as raised:
                dataclasses.replace(small_spec(), **{"grid": None, "seeds": seeds, source: given})
            assert raised.value.path == (source, name)
    with pytest.raises(InputError, match=r"^grid.activation is 'none', expected one of: tanh, relu"):
        small_spec(activation=("tanh", "none"))


def test_a_spec_without_a_network_has_no_layers():
    spec = module_spec()
    for ask in (lambda: spec.layers, lambda: plan_zoo(spec)):
        with pytest.raises(InputError, match="architecture is missing, expected one of: cnn-s, cnn-l"):
            ask()
    assert module_of(small_spec().layers) is None


def test_names_of_layers_are_told_apart():
    assert names_of_layers([("a", "b", "kernel"), ("kernel",)]) == ("a_b", "kernel")
    assert names_of_layers([("a", "b_c", "kernel"), ("a_b", "c", "kernel")]) == ("a/b_c", "a_b/c")


WRONG = {
    "a name": ({"name": "my net"}, "name is 'my net', expected a name of a class"),
    "no shapes": ({"shapes": {}}, "shapes is '0 variables', expected 1 to"),
    "another collection": ({"shapes": {"cache/n": [1]}}, "collection 'cache', expected those in params and batch_st"),
    "statistics alone": ({"shapes": {"batch_stats/a/mean": [1]}}, "expected parameters among the variables"),
    "a leaf that is a collection": ({"shapes": {"params": [1]}}, "expected a collection and a name of each variable"),
    "a dot": ({"shapes": {"params/a.b": [1]}}, "shapes is 'a.b', expected a name of letters, digits and _"),
    "nothing of a size": ({"shapes": {"params/a": [0]}}, "expected sizes of 1 or more"),
    "a path twice": ({"shapes": [[["params", "a"], [1]], [["params", "a"], [2]]]}, "expected no path twice"),
    "a text for a module": ({"module": "os.system"}, "module is 'os.system', expected a Flax Linen module"),
    "settings that are no texts": ({"settings": {"width": 16}}, "settings is 16, expected a text"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_description_is_one_line(case):
    changes, message = WRONG[case]
    table = {"name": "Net", "settings": {}, "shapes": {"params/a": [1]}, **changes}
    with pytest.raises(InputError, match=message) as raised:
        read_table(full_table(module_spec()) | {"network": table}, ZooSpec)
    assert "\n" not in str(raised.value)
