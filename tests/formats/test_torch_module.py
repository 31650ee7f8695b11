"""Models as PyTorch has them: hand-written networks take the state dict and say what the Flax module says."""

import copy
import pickle
import shutil
import sys

import numpy as np
import pytest
from populations import record_of, small_spec, store_zoo

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.models.torch_names import variables_of_state
from jaxzoo.models.variables import each_leaf
from jaxzoo.reading.torch_state import batches_until, member_entries
from jaxzoo.spec.grid import ACTIVATIONS
from jaxzoo.storage.record import Parent
from jaxzoo.storage.zoo_folder import cohort_folder

torch = pytest.importorskip("torch")
import resnet_torch  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(1)  # another test runs beside

HAND_ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda values: torch.where(values > 0, values, 0.01 * values),
    "sigmoid": torch.sigmoid,
    "silu": lambda values: values * torch.sigmoid(values),
    "gelu": lambda values: values * (1 + torch.erf(values / 2**0.5)) / 2,
    "identity": lambda values: values,
}
RATES = (0.0, 0.25)
LAST = 2  # the last epoch


class HandCNN(nn.Module):
    """A CNN of the original, its tensors at the given positions of `module_list`; other positions do nothing."""

    def __init__(self, positions, modules, activation, pooled):
        super().__init__()
        self.module_list = nn.ModuleList(nn.Identity() for _ in range(positions[-1] + 1))
        for position, module in zip(positions, modules, strict=True):
            self.module_list[position] = module
        self.positions, self.activation, self.pooled = positions, HAND_ACTIVATIONS[activation], pooled

    def forward(self, values):
        *convolutions, first, last = (self.module_list[position] for position in self.positions)
        for convolution, pooled in zip(convolutions, self.pooled, strict=True):
            values = convolution(values)
            values = self.activation(nn.functional.max_pool2d(values, 2) if pooled else values)
        return last(self.activation(first(torch.flatten(values, 1))))


def hand_written(architecture, rate, activation):
    if architecture == "resnet-18-narrow":
        assert activation == "relu"
        return resnet_torch.ResNet18(8, 10)
    if architecture == "cnn-s":
        positions = (0, 4, 8, 11, 14) if rate else (0, 3, 6, 9, 11)
        modules = [nn.Conv2d(1, 8, 5), nn.Conv2d(8, 6, 5), nn.Conv2d(6, 4, 2), nn.Linear(36, 20), nn.Linear(20, 10)]
        return HandCNN(positions, modules, activation, (True, True, False))
    modules = [nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.Conv2d(32, 15, 3), nn.Linear(60, 20), nn.Linear(20, 10)]
    return HandCNN((0, 4, 8, 13, 16), modules, activation, (True, True, True))


@pytest.fixture(scope="module")
def zoos(tmp_path_factory):
    """A zoo of each architecture, whose weights are drawn large enough for every layer to matter in the logits."""
    grids = {
        "cnn-s": {"activation": ACTIVATIONS, "dropout": RATES},
        "cnn-l": {"activation": ("leaky_relu",), "dropout": RATES},
        "resnet-18-narrow": {"activation": ("relu",)},
    }
    folder = tmp_path_factory.mktemp("zoos")
    return {
        name: store_zoo(folder / name, small_spec(name, seeds=1, **grid), scale=0.3) for name, grid in grids.items()
    }


def drawn_images(zoo):
    return np.random.default_rng(1).standard_normal((3, *zoo.image_shape), np.float32)


def flax_logits(zoo, model, epoch, images):
    variables = zoo.variables(epoch, [model])
    one = {
        collection: {
            layer: {kind: leaf[0] for kind, leaf in kinds.items()} for layer, kinds in variables[collection].items()
        }
        for collection in variables
    }
    return np.asarray(zoo.network_of(model).apply(one, images))


def torch_logits(module, images):
    with torch.no_grad():
        return module(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()


CASES = [("cnn-s", model) for model in range(14)] + [("cnn-l", 0), ("cnn-l", 1), ("resnet-18-narrow", 0)]


@pytest.mark.parametrize(("architecture", "model"), CASES)
def test_three_networks_of_the_same_weights_give_the_same_logits(architecture, model, zoos):
    zoo = zoos[architecture]
    member = zoo.members.loc[model]
    by_hand = hand_written(architecture, member["dropout"], member["activation"])
    by_hand.load_state_dict(zoo.to_torch(model, 1), strict=True)
    images = drawn_images(zoo)
    wanted = flax_logits(zoo, model, 1, images)
    assert np.abs(wanted - wanted[0]).max() > 0.01 * np.abs(wanted).max()  # the images matter, not the biases alone
    for module in (by_hand.eval(), jaxzoo.torch_module(zoo, model, 1)):
        # float32 rounds to 6e-8, and sums over up to 576 products in another order add some tens of that
        np.testing.assert_allclose(torch_logits(module, images), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_every_activation_is_compared(zoos):
    models = [model for architecture, model in CASES if architecture == "cnn-s"]
    assert {*zoos["cnn-s"].members.loc[models, "activation"]} == {*ACTIVATIONS}
    assert {*zoos["cnn-s"].members.loc[models, "dropout"]} == {*RATES}


@pytest.mark.parametrize(("architecture", "model"), [("cnn-s", 0), ("cnn-s", 1), ("cnn-l", 1), ("resnet-18-narrow", 0)])
def test_a_state_dict_comes_back_as_the_variables_bit_for_bit(architecture, model, zoos):
    zoo = zoos[architecture]
    state = {name: tensor.numpy()[None] for name, tensor in zoo.to_torch(model, 1).items()}
    entries = member_entries(zoo.layers, zoo.spec, zoo.members["dropout"][model])
    back = dict(each_leaf(variables_of_state(entries, state)))
    for path, leaf in each_leaf(zoo.variables(1, [model])):
        assert back.pop(path).tobytes() == leaf.tobytes(), path
    assert not back


@pytest.mark.parametrize(("architecture", "model"), [("cnn-s", 0), ("cnn-s", 1), ("cnn-l", 0), ("resnet-18-narrow", 0)])
def test_the_module_has_the_state_dict_of_the_zoo(architecture, model, zoos):
    zoo = zoos[architecture]
    member = zoo.members.loc[model]
    module, state = jaxzoo.torch_module(zoo, model), zoo.to_torch(model, LAST)
    assert not module.training
    assert [*module.state_dict()] == [*state]
    assert [*hand_written(architecture, member["dropout"], member["activation"]).state_dict()] == [*state]
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == (torch.int64 if name.endswith("num_batches_tracked") else torch.float32)
        assert torch.equal(tensor, state[name]), name


def test_every_tensor_owns_its_memory(zoos):
    state = zoos["resnet-18-narrow"].to_torch(0, 1)
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in state.values())
    assert all(tensor.is_contiguous() for tensor in state.values())
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)


def test_batches_are_counted_as_training_counts_steps(zoos):
    zoo = zoos["resnet-18-narrow"]  # 47 images in batches of 10: 5 steps an epoch
    counts = [tensor for name, tensor in zoo.to_torch(0, 2).items() if name.endswith("num_batches_tracked")]
    assert len(counts) == 20
    assert {(count.item(), count.dtype, count.shape) for count in counts} == {(10, torch.int64, ())}


def test_twins_go_on_counting_from_their_parents_last_epoch():
    record = record_of(small_spec(), parent=Parent(digest="d" * 64, epoch=2))
    assert [batches_until(record, record.spec.dataset, epoch) for epoch in (0, 3)] == [10, 25]


def test_a_twin_is_a_model_too(digits_zoo):
    twins = jaxzoo.open_zoo(digits_zoo).twins["magnitude"]
    module, images = jaxzoo.torch_module(twins, 3), drawn_images(twins)
    wanted = flax_logits(twins, 3, twins.epochs[-1], images)
    # float32, as above
    np.testing.assert_allclose(torch_logits(module, images), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_module_trains(zoos):
    module = jaxzoo.torch_module(zoos["resnet-18-narrow"], 0).train()
    assert all(parameter.requires_grad for parameter in module.parameters())
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(norms) == 20
    before, optimizer = copy.deepcopy(module.state_dict()), torch.optim.SGD(module.parameters(), lr=0.1)
    images = torch.tensor(drawn_images(zoos["resnet-18-narrow"]).transpose(0, 3, 1, 2))
    nn.functional.cross_entropy(module(images), torch.tensor([1, 2, 3])).backward()
    optimizer.step()
    assert all((tensor != before[name]).any() for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("model", [0, 1])
def test_units_drop_out_at_the_members_own_rate(model, zoos):
    zoo = zoos["cnn-s"]
    rate = zoo.members["dropout"][model]
    module = jaxzoo.torch_module(zoo, model).train()
    assert [each.p for each in module.modules() if isinstance(each, nn.Dropout)] == ([rate] * 3 if rate else [])


@pytest.mark.parametrize("architecture", ["cnn-s", "resnet-18-narrow"])
def test_a_module_is_copied_and_pickled_and_its_parts_can_be_replaced(architecture, zoos):
    module, images = jaxzoo.torch_module(zoos[architecture], 0), drawn_images(zoos[architecture])
    wanted = torch_logits(module, images)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        np.testing.assert_array_equal(torch_logits(other, images), wanted)
        last = [name for name, each in other.named_modules() if isinstance(each, nn.Linear)][-1]
        other.set_submodule(last, nn.Linear(other.get_submodule(last).in_features, 3))
        assert torch_logits(other, images).shape == (3, 3)
    np.testing.assert_array_equal(torch_logits(module, images), wanted)


def test_pytorchs_random_numbers_and_default_type_are_left_alone(zoos):
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        module = jaxzoo.torch_module(zoos["resnet-18-narrow"], 0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("model", "epoch", "message"),
    [(14, 1, "model is 14, expected 0..13"), (0, 3, "epoch is 3, expected one of 0..2"), (0, -1, "epoch is -1")],
)
def test_a_state_that_is_not_there_is_refused(model, epoch, message, zoos):
    for call in (zoos["cnn-s"].to_torch, lambda *state: jaxzoo.torch_module(zoos["cnn-s"], *state)):
        with pytest.raises(InputError) as error:
            call(model, epoch)
        assert message in str(error.value)


def test_without_an_epoch_it_is_the_last_one_that_is_there_of_the_model(tmp_path):
    spec = small_spec(seeds=1, activation=("tanh", "relu"), optimizer=("adam", "sgd"))  # in two cohorts
    path = store_zoo(tmp_path / "z", spec).path
    for epoch in (1, 2):
        shutil.rmtree(cohort_folder(path, 1) / "snapshots" / str(epoch))
    shutil.rmtree(cohort_folder(path, 0) / "snapshots" / "0")
    partial = jaxzoo.open_zoo(path, partial=True)
    for cohort, epoch in ((0, 2), (1, 0)):
        model = int(partial.members.query(f"cohort == {cohort}")["model"].iloc[0])
        state = partial.to_torch(model, epoch)
        for name, tensor in jaxzoo.torch_module(partial, model).state_dict().items():
            assert torch.equal(tensor, state[name])
    with pytest.raises(InputError, match=r"model 0 has weights at no epoch, expected .*partial=True\) opens what"):
        jaxzoo.torch_module(jaxzoo.open_zoo(path), 0)


def test_without_pytorch_a_line_says_how_to_install_it(zoos, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name, call in {"to_torch": jaxzoo.Zoo.to_torch, "torch_module": jaxzoo.torch_module}.items():
        with pytest.raises(InputError, match=rf"^{name}: PyTorch is not .*: pip install 'jaxzoo\[torch\]'$"):
            call(zoos["cnn-s"], 0, 1)
