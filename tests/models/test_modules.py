"""What is read off a Flax module before anything is computed, and what is refused."""

import dataclasses
import functools
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax_modules import MODULES, Nested, Normed, Plain

from jaxzoo.errors import InputError
from jaxzoo.models.module_settings import settings_of
from jaxzoo.models.modules import TOLERANCE, apply_module, describe_module, fixed_logits, same_logits
from jaxzoo.spec.module import FlaxModule

IMAGE = (28, 28, 1)


@pytest.mark.parametrize("name", MODULES)
def test_the_shapes_are_those_of_the_variables_that_it_draws(name):
    module = MODULES[name]
    network = describe_module(module, IMAGE, 10)
    images = jnp.zeros((1, *IMAGE))
    given = {"train": False} if name == "dropping" else {}
    leaves = jax.tree_util.tree_leaves_with_path(module.init(jax.random.key(0), images, **given))
    wanted = {tuple(key.key for key in path): leaf.shape for path, leaf in leaves}
    assert dict(network.shapes) == wanted
    assert network.keeps_statistics == (name == "normed")
    assert network.name == type(module).__name__


def test_training_and_evaluation_get_their_keywords():
    images, key = jnp.ones((4, *IMAGE)), jax.random.key(1)
    for module, drops in ((Nested(), True), (Normed(), False), (Plain(), False)):
        network = describe_module(module, IMAGE, 10)
        variables = module.init(jax.random.key(0), images)
        train, moved = apply_module(network, variables, images, key, train=True)
        evaluated, same = apply_module(network, variables, images, key, train=False)
        assert bool((train != evaluated).any()) == (drops or network.keeps_statistics)
        if network.keeps_statistics:
            assert (moved["BatchNorm_0"]["mean"] != same["BatchNorm_0"]["mean"]).any()


def test_fixed_logits_tell_functions_apart_and_leave_room_for_rounding():
    kept = fixed_logits(describe_module(Plain(), IMAGE, 10), IMAGE)
    assert np.shape(kept) == (4, 10)
    assert same_logits(kept, fixed_logits(describe_module(Plain(), IMAGE, 10), IMAGE))
    other = fixed_logits(describe_module(Plain(activation=nn.leaky_relu), IMAGE, 10), IMAGE)
    assert not same_logits(kept, other)
    largest = np.abs(kept).max()
    for share, same in ((0.5, True), (2, False)):
        near = np.array(kept)
        near[2, 3] += share * TOLERANCE * largest
        assert same_logits(kept, near.tolist()) == same
    assert not same_logits(kept, kept[:2])


def activation(values):
    return values


class Plain2(nn.Module):
    anything: object = None

    @nn.compact
    def __call__(self, images):
        return nn.Dense(10)(images.reshape(images.shape[0], -1))


@dataclasses.dataclass
class Options:
    depth: int
    act: object = nn.relu


TEXTS = {
    "None": None,
    "3": 3,
    "0.1": 0.1,
    "2.5": np.float64(2.5),
    "'a'": "a",
    "(1, (2, 3))": [1, (2, 3)],
    "{'a': 1, 'b': (2)}": {"b": [2], "a": 1},
    "relu": nn.relu,
    "activation": activation,
    "<lambda>": lambda values: values,
    "partial(gelu, (), {'approximate': False})": functools.partial(nn.gelu, approximate=False),
    "bfloat16": jnp.bfloat16,
    "Dense(features=4)": nn.Dense(4),
    "Options(depth=2)": Options(2),
    "Options(depth=2, act=tanh)": Options(2, jnp.tanh),
}


@pytest.mark.parametrize("text", TEXTS)
def test_settings_are_texts(text):
    assert settings_of(Plain2(TEXTS[text])) == (("anything", text),)


def test_settings_are_alike_in_another_process():
    code = "import flax_modules, jaxzoo.models.module_settings as s; print(s.settings_of(flax_modules.Plain()))"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert done.stdout.decode().strip() == str(settings_of(Plain()))


class Wrong(nn.Module):
    how: str

    @nn.compact
    def __call__(self, images, train=False):
        values = images.reshape(images.shape[0], -1)
        match self.how:
            case "few outputs":
                return nn.Dense(5)(values)
            case "another shape in training":
                return nn.Dense(10)(values) if not train else nn.Dense(10)(values)[:1]
            case "another stream":
                values = values + jax.random.normal(self.make_rng("noise"), values.shape) if train else values
            case "another collection":
                self.variable("cache", "count", jnp.zeros, ())
            case "half":
                return nn.Dense(10, param_dtype=jnp.bfloat16)(values)
            case "other images":
                values = values.reshape(-1, 32 * 32 * 3)
            case "infinite":
                return nn.Dense(10)(values) / 0
        return nn.Dense(10, name="a.b" if self.how == "a dot" else None)(values)


class NeedsMore(nn.Module):
    def __call__(self, images, labels):
        return images


REFUSED = {
    "few outputs": r"network Wrong gives \(2, 5\) of 2 images, expected \(2, 10\)",
    "another shape in training": r"network Wrong gives \(1, 10\) of 2 images",
    "another stream": "network Wrong: InvalidRngError: .*noise.*; expected a module .* one random stream in training",
    "another collection": "network Wrong: shapes: a variable is in the collection 'cache', expected those in params",
    "half": "network Wrong: params/Dense_0/.* is bfloat16, expected variables in float32",
    "other images": "network Wrong: TypeError: cannot reshape",
    "a dot": "network Wrong: shapes is 'a.b', expected a name of letters, digits and _",
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_module_that_cannot_be_trained_is_refused(how):
    with pytest.raises(InputError, match=REFUSED[how]) as raised:
        describe_module(Wrong(how), IMAGE, 10)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (3, "network is 3, expected a Flax Linen module"),
        (Plain, "network is <class .*Plain'>, expected a Flax Linen module, such as MyModule"),
        (NeedsMore(), "network NeedsMore: TypeError: .*missing 1 required positional argument: 'labels'; expected a m"),
        (Plain2(np.zeros(3)), r"network.anything is an array of shape \(3,\), expected a value that a line can say"),
        (Plain2(object()), "network.anything is a object that is written with its address in memory"),
    ],
)
def test_what_is_no_module_or_cannot_be_written_is_refused(module, message):
    with pytest.raises(InputError, match=message):
        describe_module(module, IMAGE, 10)


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="gives logits that are not finite before it is trained"):
        fixed_logits(describe_module(Wrong("infinite"), IMAGE, 10), IMAGE)


def test_without_the_module_nothing_is_applied():
    network = describe_module(Plain(), IMAGE, 10)
    read = FlaxModule(**network.written())
    assert read == network
    with pytest.raises(InputError, match="expected network=, the module Plain that the zoo was begun with"):
        apply_module(read, {"params": {}}, jnp.zeros((1, *IMAGE)), None, train=False)
