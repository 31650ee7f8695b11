"""The zoos of other papers: what is known of them, and that they stand apart from the published ones."""

from collections import Counter

import jaxzoo
from jaxzoo.commands.listing import list_zoos
from jaxzoo.models.variables import network_shapes, parameter_count
from jaxzoo.spec.config import field_specs, known_specs, published_specs
from jaxzoo.spec.layers import Conv
from jaxzoo.spec.plan import plan_zoo

SMALL = [f"small-cnn-zoo-{name}" for name in ("mnist", "fashion-mnist", "cifar10", "svhn")]


def test_they_stand_apart_from_the_published_ones():
    field = field_specs()
    assert {*field} == {*SMALL, "cnn-wild-park", "weight-clip-cnn"}
    assert not {*field} & {*published_specs()}
    assert {*jaxzoo.zoo_names()} == {*field, *published_specs()} == {*known_specs()}
    assert jaxzoo.load_spec("cnn-wild-park") == field["cnn-wild-park"]
    text = list_zoos([*published_specs().values()], [*field.values()])
    assert "27 zoos, 50,360 models, 2,585,360 dense and 1,259,000 sparse states, 3,844,360 in all" in text
    assert text.index("3,844,360") < text.index("zoos of other papers") < text.index("cnn-wild-park")


def test_the_small_cnn_zoo_is_four_gray_data_sets_of_one_network():
    for name in SMALL:
        spec = jaxzoo.load_spec(name)
        assert (spec.population_size, spec.epochs, spec.batch_size, spec.dataset.channels) == (30_000, 86, 512, 1)
        layout = [shape for kinds in network_shapes(spec.layers, 10, spec.image_shape)["params"].values()
                  for shape in kinds.values()]  # fmt: skip
        assert layout == [(3, 3, 1, 16), (16,), (3, 3, 16, 16), (16,), (3, 3, 16, 16), (16,), (16, 10), (10,)]
        assert parameter_count(spec.layers, spec.dataset) == 4970
        assert {type(spec.values(name)[0]) for name in spec.declared} == {float}
        colour = name in SMALL[2:]
        assert (spec.dataset.gray, spec.dataset.size) == (("mean", 32) if colour else ("luma", 28))


def test_the_wild_park_has_chains_of_two_to_five_convolutions():
    spec = jaxzoo.load_spec("cnn-wild-park")
    plan = plan_zoo(spec)
    assert len(plan.members) == 2800
    chains = [spec.layers_of(member.hyperparameters) for member in plan.members]
    depths = Counter(sum(isinstance(layer, Conv) for layer in chain) for chain in chains)
    assert {*depths} == {2, 3, 4, 5}
    assert {layer.features for chain in chains for layer in chain if isinstance(layer, Conv)} == {4, 8, 16, 32}
    first = [member.hyperparameters["architecture"] for member in plan.members[:32]]
    assert len({*first}) == 32


def test_weight_clip_is_one_network_on_several_data_sets():
    spec = jaxzoo.load_spec("weight-clip-cnn")
    plan = plan_zoo(spec)
    assert len(plan.members) == 300
    assert [cohort.key.dataset.name for cohort in plan.cohorts] == ["cifar10", "svhn_cropped", "stl10"]
    assert {cohort.key.layers for cohort in plan.cohorts} == {spec.layers}
