"""Architectures are values: tuples of layers that are written down whole, and told apart by every field."""

import copy
import dataclasses
import inspect

from jaxzoo.spec import zoo_spec
from jaxzoo.spec.layers import CNN_S, LAYERS, Conv, Residual, each_layer
from jaxzoo.spec.tables import digest_of, full_table


def test_every_field_of_every_layer_is_in_the_table():
    assert full_table(CNN_S)[0] == {
        "kind": "Conv", "name": "conv1", "kernel": 5, "features": 8, "stride": 1, "padding": 0, "bias": True
    }  # fmt: skip
    assert full_table((Residual((Conv("a", 1, 2),), ()),)) == [
        {"kind": "Residual", "main": full_table((Conv("a", 1, 2),)), "shortcut": []}
    ]
    tables = [str(full_table(layers)) for layers in LAYERS.values()]
    assert len(set(tables)) == len(LAYERS)
    for layers in LAYERS.values():
        for number, layer in enumerate(layers):
            for field in dataclasses.fields(layer):
                other = copy.copy(layer)
                object.__setattr__(other, field.name, "changed")  # whatever a field of its kind may be
                assert full_table((*layers[:number], other, *layers[number + 1 :])) != full_table(layers)


@dataclasses.dataclass(frozen=True)
class Holder:
    parts: tuple = ()


def test_digests_tell_kinds_in_tuples_apart_and_leave_defaults_out():
    one, other = dataclasses.make_dataclass("One", ["size"]), dataclasses.make_dataclass("Other", ["size"])
    digests = [digest_of(Holder(parts)) for parts in ((), (one(1),), (other(1),), (one(2),), (one(1), one(1)))]
    assert len(set(digests)) == len(digests)
    later = dataclasses.make_dataclass("Holder", [("parts", tuple, ()), ("added", int, 3)])
    assert digest_of(later()) == digest_of(Holder())
    assert digest_of(later(added=4)) != digest_of(Holder())


def test_no_field_of_a_spec_has_a_default_factory():
    """A digest leaves out the fields that equal their default, and a default that is made anew has no such value."""
    kinds = [kind for _, kind in inspect.getmembers(zoo_spec, dataclasses.is_dataclass)]
    kinds += list({type(layer) for layers in LAYERS.values() for layer in (*layers, *each_layer(layers))})
    assert len(kinds) > 12
    for kind in kinds:
        assert all(field.default_factory is dataclasses.MISSING for field in dataclasses.fields(kind)), kind
