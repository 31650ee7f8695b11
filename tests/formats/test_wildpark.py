"""The layout of CNN Wild Park: networks built from their configs in PyTorch, mixtures, and what is refused."""

import dataclasses
import json
import math
import pickle
import re
import shutil
import sys
import types

import jax
import msgpack
import numpy as np
import pytest
from exchange import one_line
from populations import small_spec, store_zoo

import jaxzoo
from jaxzoo.__main__ import main
from jaxzoo.errors import InputError
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.chains import ChainDraw
from jaxzoo.spec.distribution import Choice, Integers
from jaxzoo.spec.draws import Draws
from jaxzoo.spec.imported_spec import ImportedSpec
from jaxzoo.spec.layers import Activation, Add, BatchNorm, Conv, Dense, Flatten, MaxPool, MeanPool, Save
from jaxzoo.spec.tables import full_table, read_table

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

torch.set_num_threads(1)  # another test runs beside

WORDS = ("relu", "gelu", "tanh", "sigmoid", "leaky_relu", "identity")
WILD = ChainDraw(
    depth=Integers(2, 5), width=Choice(3, 4, 6), kernel=Choice(3, 5), activation=Choice(*WORDS), skips=True
)
FIXED = {"initialization": "torch_default", "optimizer": "adamw", "learning_rate": 1e-3}
FUNCTIONS = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": functional.leaky_relu,
    "none": lambda values: values,
}


class CNN(nn.Module):
    """A network of the park, as its readers know it: `layers`, `fc`, and what the config says of each layer."""

    def __init__(self, config):
        super().__init__()
        widths = config["channels"]
        sizes = zip(config["kernel_size"], config["stride"], config["padding"], strict=True)
        self.layers = nn.ModuleList([nn.Conv2d(widths[i], widths[i + 1], *own) for i, own in enumerate(sizes)])
        self.fc = nn.Linear(widths[-1], config["n_classes"])
        self.sources, self.words = config["residual"], config["activation"]

    def forward(self, values):
        given = []
        for layer, source, word in zip(self.layers, self.sources, self.words, strict=True):
            values = layer(values)
            if source >= 0:
                both = min(values.shape[1], given[source].shape[1])
                values = torch.cat([values[:, :both] + given[source][:, :both], values[:, both:]], dim=1)
            values = FUNCTIONS[word](values)
            given.append(values)
        return self.fc(values.mean(dim=(2, 3)))


def park(models=8, epochs=2):
    """The spec of a mixture: chains that are drawn, on images with three channels."""
    spec = small_spec("resnet-18-narrow", epochs=epochs)
    dataset = dataclasses.replace(spec.dataset, size=12)
    draws = Draws(models=models, architecture=WILD, **FIXED)
    return dataclasses.replace(spec, architecture=None, dataset=dataset, grid=None, seeds=None, draws=draws)


def of_layers(*layers, **grid):
    """The spec of a zoo whose networks are these layers."""
    spec = small_spec("resnet-18-narrow", seeds=2, epochs=1, **grid)
    dataset = dataclasses.replace(spec.dataset, size=12)
    return dataclasses.replace(spec, dataset=dataset, architecture=Architecture(name="own", layers=layers))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Eight models of as many architectures, over two epochs."""
    return store_zoo(tmp_path_factory.mktemp("park") / "z", park(), scale=0.3)


@pytest.fixture(scope="module")
def tree(zoo, tmp_path_factory):
    return jaxzoo.export_zoo(zoo, tmp_path_factory.mktemp("tree") / "x", "wildpark")[0]


def load(root, model, epoch):
    (path,) = root.glob(f"CNN_{model:06d}_*/checkpoint_{epoch - 1:06d}/checkpoint.pt")
    return torch.load(path, weights_only=True)


def logits_of_checkpoint(checkpoint, images):
    network = CNN(checkpoint["config"])
    network.load_state_dict(checkpoint["model"])
    with torch.no_grad():
        return network(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()


def logits_of_zoo(zoo, model, epoch, images):
    variables = jax.tree.map(lambda leaf: leaf[0], zoo.variables(epoch, [model]))
    return np.asarray(zoo.network_of(model).apply(variables, images))


def assert_same_logits(zoo, root, models, epoch=1):
    """The network of each checkpoint, in PyTorch, computes what the zoo's does."""
    images = np.random.default_rng(0).standard_normal((5, *zoo.image_shape), np.float32)
    for model in models:
        got, wanted = logits_of_checkpoint(load(root, model, epoch), images), logits_of_zoo(zoo, model, epoch, images)
        assert np.abs(wanted).max() > 0.05
        # float32 sums of at most 150 products in another order, through at most five layers
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_pytorch_computes_what_the_zoo_does(zoo, tree):
    configs = [load(tree, model, 2)["config"] for model in range(8)]
    assert {word for config in configs for word in config["activation"]} == {*FUNCTIONS}
    assert max(source for config in configs for source in config["residual"]) >= 1
    assert_same_logits(zoo, tree, range(8), epoch=2)


def test_what_the_readers_rely_on(zoo, tree):
    assert sum(1 for _ in tree.glob("*/*/checkpoint.pt")) == 16  # of two epochs: the untrained one has no number
    checkpoint = load(tree, 3, 2)
    assert [*checkpoint] == ["model", "config", "last_result", "iteration"]
    assert type(checkpoint["config"]) is dict
    depth = checkpoint["config"]["n_layers"]
    modules = [*(f"layers.{number}" for number in range(depth)), "fc"]
    assert [*checkpoint["model"]] == [f"{name}.{kind}" for name in modules for kind in ("weight", "bias")]
    assert checkpoint["iteration"] == 1  # the original's first checkpoint, with the number 0, is of epoch 1
    accuracy = zoo.metrics_at(2).set_index("model")["test_accuracy"][3]
    assert checkpoint["last_result"] == {"test/acc": float(accuracy)}
    assert {len(checkpoint["config"][name]) for name in ("kernel_size", "residual", "activation")} == {depth}
    assert checkpoint["config"]["channels"][0] == 3
    assert load(tree, 3, 1)["config"] == checkpoint["config"]


def test_splits_share_no_model(zoo, tree):
    splits = json.loads((tree / "cnn_park_splits.json").read_text())
    assert [*splits] == ["train", "val", "test"]
    models = [{path.split("/")[0] for path in part["path"]} for part in splits.values()]
    assert all(models)
    assert sum(map(len, models)) == len(set.union(*models)) == 8
    for part in splits.values():
        for path, score, step in zip(part["path"], part["score"], part["step"], strict=True):
            checkpoint = torch.load(tree / path, weights_only=True)
            assert (checkpoint["last_result"]["test/acc"], checkpoint["iteration"]) == (score, step)
    beside = json.loads(tree.with_name("x-splits.json").read_text())
    numbers = [sorted({int(name.split("_")[1]) for name in names}) for names in models]
    assert numbers == [sorted(beside[name]) for name in ("train", "validation", "test")]


def test_a_mixture_comes_back(zoo, tree, tmp_path):
    back = jaxzoo.import_zoo(tree, tmp_path / "back", "wildpark")
    assert back.epochs == (1, 2)
    assert back.mixed
    assert back.members["architecture"].tolist() == zoo.members["architecture"].tolist()
    assert back.members["seed"].tolist() == zoo.members["seed"].tolist()
    assert {*back.members["activation"]} == {"none"}
    assert [*back.groups] == [*zoo.groups]
    for name, group in back.groups.items():
        assert group.layers == zoo.groups[name].layers
        for epoch in back.epochs:
            np.testing.assert_array_equal(group.weights(epoch), zoo.groups[name].weights(epoch))
    for epoch in back.epochs:
        accuracies = [each.metrics_at(epoch)["test_accuracy"].tolist() for each in (zoo, back)]
        assert accuracies[0] == accuracies[1]
    assert back.metrics["train_loss"].isna().all()
    assert back.metrics["finite"].all()
    assert [*jaxzoo.verify_zoo(back.path, deep=True)] == []
    images = np.random.default_rng(0).standard_normal((2, 12, 12, 3), np.float32)
    np.testing.assert_array_equal(logits_of_zoo(back, 5, 2, images), logits_of_zoo(zoo, 5, 2, images))
    (again,) = jaxzoo.export_zoo(back, tmp_path / "again", "wildpark")
    for path in sorted(tree.glob("*/*/checkpoint.pt")):
        first, second = (torch.load(root / path.relative_to(tree), weights_only=True) for root in (tree, again))
        assert all(torch.equal(first["model"][name], tensor) for name, tensor in second["model"].items())
        assert {**first, "model": None} == {**second, "model": None}


def test_models_of_one_architecture_share_cohorts(tmp_path, monkeypatch):
    """Rows of several architectures that alternate, in cohorts that hold two models at most."""
    spec = park(models=2, epochs=1)
    spec = dataclasses.replace(spec, drawn_seeds=jaxzoo.SeedDraw(count=3, below=1000))
    zoo = store_zoo(tmp_path / "z", spec)
    monkeypatch.setattr("jaxzoo.formats.imported_zoo.MOST_MODELS", 2)
    (tree,) = jaxzoo.export_zoo(zoo, tmp_path / "x", "wildpark")
    back = jaxzoo.import_zoo(tree, tmp_path / "back", "wildpark")
    assert len(back.cohorts) == 4
    assert back.members["architecture"].tolist() == zoo.members["architecture"].tolist()
    for cohort in back.cohorts.values():
        assert len({member.hyperparameters["architecture"] for member in cohort}) == 1
    for name, group in back.groups.items():
        np.testing.assert_array_equal(group.weights(1), zoo.groups[name].weights(1))
    assert [*jaxzoo.verify_zoo(back.path, deep=True)] == []

    rows = msgpack.unpackb((back.path / "members.msgpack").read_bytes())
    first, other = back.spec.architecture_names
    for number, changes, message in (
        (0, {"architecture": "wide"}, "model 0: architecture is 'wide', expected one of: chain"),
        (0, {"architecture": None}, "model 0: architecture is None"),
        (4, {"architecture": first}, "a cohort has models of several architectures"),
        (4, {"activation": "swish"}, "model 4: activation is 'swish', expected one of its network"),
    ):
        changed = [row | changes if row["model"] == number else row for row in rows]
        (back.path / "members.msgpack").write_bytes(msgpack.packb(changed))
        with one_line(message):
            jaxzoo.open_zoo(back.path)
    assert rows[4]["architecture"] == other


def test_twins_of_a_mixture_come_along(zoo, tree, tmp_path, capsys):
    for name in ("x", "x-magnitude"):
        shutil.copytree(tree, tmp_path / name)
    assert main(["import", str(tmp_path / "x"), "--format", "wildpark", "--out", str(tmp_path / "z")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'z'}: 8 models of 8 architectures, 2 epochs, twins by magnitude\n"
    twins = jaxzoo.open_zoo(tmp_path / "z").twins["magnitude"]
    assert [*twins.groups] == [*zoo.groups]
    assert twins.metrics["sparsity"].eq(0).all()
    assert [*jaxzoo.verify_zoo(tmp_path / "z", deep=True)] == []
    (second,) = (tmp_path / "x-magnitude").glob("CNN_000001_*")
    shutil.rmtree(second)
    with one_line("its 7 models are not twins of the 8 parents"):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "y", "wildpark")


OWN = (
    *(Conv("first", 3, 4, stride=2), Activation(), Save("kept"), Conv("second", 3, 4, padding=1), Add("kept")),
    *(Activation("gelu"), Conv("third", 1, 6), Add("kept", "common"), Activation(), MeanPool(), Dense("head", 10)),
)


def test_an_activation_of_the_members_own_is_written_by_its_name(tmp_path):
    zoo = store_zoo(tmp_path / "z", of_layers(*OWN, activation=("tanh", "leaky_relu")), scale=0.3)
    (tree,) = jaxzoo.export_zoo(zoo, tmp_path / "x", "wildpark")
    assert load(tree, 0, 1)["config"] == {
        **{"n_layers": 3, "n_classes": 10, "channels": [3, 4, 4, 6], "kernel_size": [3, 3, 1], "stride": [2, 1, 1]},
        **{"padding": [0, 1, 0], "residual": [-1, 0, 0], "activation": ["tanh", "gelu", "tanh"]},
    }
    assert load(tree, 2, 1)["config"]["activation"] == ["leaky_relu", "gelu", "leaky_relu"]
    state = load(tree, 0, 1)["model"]  # of four models that are read together, no file holds another's numbers
    assert all(tensor.untyped_storage().nbytes() == 4 * tensor.numel() for tensor in state.values())
    assert_same_logits(zoo, tree, range(4))
    back = jaxzoo.import_zoo(tree, tmp_path / "back", "wildpark")
    assert len(back.groups) == 2
    one = jaxzoo.export_zoo(zoo, tmp_path / "y", "wildpark", where="activation == 'tanh'")[0]
    alone = jaxzoo.import_zoo(one, tmp_path / "alone", "wildpark", dataset=zoo.spec.dataset)
    assert not alone.mixed
    assert "architecture" not in alone.members.columns
    assert alone.spec.architecture == next(iter(back.groups))
    assert alone.image_shape == (12, 12, 3)
    np.testing.assert_array_equal(alone.weights(1), zoo.weights(1, models=[0, 1]))
    table = json.loads((alone.path / "zoo.json").read_text())["spec"]
    assert read_table(table, ImportedSpec) == alone.spec


def replaced(layers, number, *others):
    return (*layers[:number], *others, *layers[number + 1 :])


REFUSED = (
    (replaced(OWN, 5, Activation("silu")), {}, r"model 0 .*activation is 'silu', expected one of: relu, .*identity"),
    (OWN, {"activation": ("silu",)}, "activation is 'silu'"),
    (replaced(OWN, 0, Conv("first", 3, 4, stride=2, bias=False)), {}, "layer first has no bias"),
    (replaced(OWN, 1, BatchNorm("norm"), Activation()), {}, "layer norm there, expected an activation for every"),
    (replaced(OWN, 8, Activation(), MaxPool()), {}, "layer MaxPool there, expected another convolution"),
    ((OWN[0], *OWN[9:]), {}, "layer MeanPool there, expected an activation"),
    ((*OWN[:8], *OWN[9:]), {}, "layer MeanPool there, expected an activation"),
    ((Save("image"), *OWN[:4], Add("kept"), *OWN[5:]), {}, "layer image there, expected a convolution first"),
    ((*OWN[:9], Flatten(), OWN[10]), {}, "layer Flatten there, expected another convolution, or global_mean_pool"),
    (
        (*OWN[:10], Dense("head", 8), Dense("last", None)),
        {},
        "layer head there, expected a dense layer with a bias",
    ),
    ((*OWN, Activation()), {}, "layer Activation there, expected nothing behind"),
)


@pytest.mark.parametrize(("layers", "grid", "message"), REFUSED)
def test_what_the_format_cannot_hold_is_refused(layers, grid, message, tmp_path):
    zoo = store_zoo(tmp_path / "z", of_layers(*layers, **grid))
    with one_line(message):
        jaxzoo.export_zoo(zoo, tmp_path / "x", "wildpark")
    assert [path.name for path in tmp_path.iterdir()] == ["z"]


def test_the_untrained_networks_have_no_number(zoo, tmp_path):
    said, begun, done = [], [], []
    hears = {"on_notice": said.append, "on_begin": begun.append, "on_states": done.append}
    jaxzoo.export_zoo(zoo, tmp_path / "x", "wildpark", **hears)
    assert begun == [24] == [sum(done)]
    assert len(said) == 1
    assert "epoch 0 is left out" in said[0]
    with one_line("only epoch 0 is chosen"):
        jaxzoo.export_zoo(zoo, tmp_path / "y", "wildpark", epochs=0)
    with one_line("the models have 8 architectures, expected models of one"):
        jaxzoo.export_zoo(zoo, tmp_path / "y", "numpy")
    assert not (tmp_path / "y").exists()


def change(edit, epoch=2):
    """Damage to the second model's checkpoint of an epoch: `edit` changes its dict, or gives what takes its place."""

    def damage(folder):
        path = folder / f"checkpoint_{epoch - 1:06d}" / "checkpoint.pt"
        table = torch.load(path, weights_only=True)
        torch.save(edit(table) or table, path)

    return damage


def change_config(**values):
    return change(lambda table: table["config"].update(values), epoch=1)


class Harmful:
    def __reduce__(self):
        return print, ("code of the file was run",)


def save_omegaconf(folder):
    """A config as the original keeps it: an object whose class is OmegaConf's."""
    package, module = types.ModuleType("omegaconf"), types.ModuleType("omegaconf.dictconfig")
    module.DictConfig = type("DictConfig", (), {"__module__": "omegaconf.dictconfig"})
    sys.modules |= {"omegaconf": package, "omegaconf.dictconfig": module}
    try:
        change(lambda table: table.update(config=module.DictConfig()))(folder)
    finally:
        del sys.modules["omegaconf"], sys.modules["omegaconf.dictconfig"]


def write_bytes(folder, data):
    (folder / "checkpoint_000001" / "checkpoint.pt").write_bytes(data)


DAMAGES = (
    (save_omegaconf, r"checkpoint_000001/checkpoint\.pt: holds objects of OmegaConf.*docs/formats\.md"),
    (
        lambda folder: write_bytes(folder, pickle.dumps({"model": Harmful()})),
        "is no plain checkpoint, expected tensors",
    ),
    (lambda folder: write_bytes(folder, b"PK\x03\x04 and no more"), "is no plain checkpoint"),
    (lambda folder: (folder / "checkpoint_000001" / "checkpoint.pt").unlink(), "cannot be read"),
    (change(lambda table: [*table.values()]), "holds a list, expected a dict of model, config"),
    (change(lambda table: table.__delitem__("model")), r"is no plain state dict.*it holds a NoneType"),
    (change(lambda table: table["model"].update(extra=3)), r"is no plain state dict.*it holds a int"),
    (change(lambda table: table["model"].update(extra=torch.ones(3))), "extra is unexpected"),
    (change(lambda table: table["model"].__delitem__("fc.bias")), "fc.bias is missing"),
    (change(lambda table: table["model"].update({"fc.bias": torch.ones(9)})), r"fc.bias is of shape \(1, 9\)"),
    (change(lambda table: table.update(iteration=11)), "iteration is 11, expected 1 as its folder says"),
    (change(lambda table: table.update(last_result={})), "test/acc in last_result is None, expected a share"),
    (change(lambda table: table.update(last_result={"test/acc": 57.3})), "test/acc in last_result is 57.3"),
    (change(lambda table: table.update(config="plain")), "config is a str, expected a plain dict"),
    (change(lambda table: table["config"].update(activation=["relu"] * 9)), "config: activation is .*expected a list"),
    (
        change(lambda table: table["config"].update(activation=["none"] * table["config"]["n_layers"])),
        "000001/checkpoint.pt: its config is not that of checkpoint_000000",
    ),
    (change_config(n_layers=0), "config: n_layers is 0, expected a whole number of 1 to 100"),
    (change_config(n_classes=None), "config: n_classes is None, expected a whole number"),
    (change_config(channels=[3]), r"config: channels is \[3\], expected a list of"),
    (change_config(kernel_size=[3.5] * 4), "config: kernel_size is"),
    (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "has no weights, expected folders checkpoint_000000"),
)


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_model_is_named_and_left_out_on_request(damage, message, tree, tmp_path, capfd):
    for number in range(3):
        (folder,) = tree.glob(f"CNN_{number:06d}_*")
        shutil.copytree(folder, tmp_path / "x" / folder.name)
    (second,) = (tmp_path / "x").glob("CNN_000001_*")
    damage(second)
    with one_line(message) as caught:
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "wildpark")
    assert second.name in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    said = []
    back = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "wildpark", skip_damaged=True, on_notice=said.append)
    assert len(back.members) == 2
    assert len(said) == 1
    assert second.name in said[0]
    assert "code of the file was run" not in capfd.readouterr().out


CONFIGS = (
    ({"residual": [-1, 1]}, r"residual of layer 1 is 1, expected -1 or a layer before it"),
    ({"residual": [-1, -2]}, "residual is -2"),
    ({"activation": ["relu", "silu"]}, "activation is 'silu', expected one of"),
    ({"activation": ["relu", ["relu"]]}, "activation is"),
    ({"kernel_size": [3, True]}, "kernel_size is True"),
    ({"stride": [1, 0]}, "stride is 0"),
    ({"padding": [0, -1]}, "padding is -1"),
    ({"padding": (0, 10**9)}, "padding is 1000000000, expected a whole number of 0 to 99"),
    ({"channels": [3, 4, 10**9]}, "channels is 1000000000"),
    ({"stride": [1, 2], "residual": [-1, 0]}, "adds to"),
    ({"kernel_size": [99, 3]}, "expected larger images"),
)


@pytest.mark.parametrize(("values", "message"), CONFIGS)
def test_a_config_that_cannot_be_is_refused(values, message, tmp_path):
    torch.manual_seed(0)
    config = {
        **{"n_layers": 2, "n_classes": 10, "channels": [3, 4, 5], "kernel_size": [3, 3], "stride": [1, 1]},
        **{"padding": [1, 1], "residual": [-1, -1], "activation": ["relu", "none"]},
    }
    path = tmp_path / "x" / "anything" / "checkpoint_000000" / "checkpoint.pt"
    path.parent.mkdir(parents=True)
    checkpoint = {"model": CNN(config).state_dict(), "last_result": {"test/acc": 0.5}, "iteration": 0}
    torch.save(checkpoint | {"config": config | values}, path)
    with one_line(rf"{re.escape(str(path))}.*{message}"):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "wildpark")
    torch.save(checkpoint | {"config": config}, path)
    zoo = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "wildpark")
    assert (zoo.epochs, zoo.image_shape, zoo.members["seed"].tolist()) == ((1,), (32, 32, 3), [0])
    assert zoo.metrics_at(1)["test_accuracy"].tolist() == [0.5]
    assert_same_logits_of_file(zoo, path)


def assert_same_logits_of_file(zoo, path):
    images = np.random.default_rng(0).standard_normal((3, *zoo.image_shape), np.float32)
    wanted = logits_of_checkpoint(torch.load(path, weights_only=True), images)
    # float32 sums of at most 36 products, and means of 1,024 values, in another order
    np.testing.assert_allclose(logits_of_zoo(zoo, 0, 1, images), wanted, rtol=1e-4, atol=1e-5)


def test_models_of_different_length_share_epochs(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "x")
    (second,) = (tmp_path / "x").glob("CNN_000001_*")
    shutil.rmtree(second / "checkpoint_000001")
    said = []
    back = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "wildpark", on_notice=said.append)
    assert back.epochs == (1,)
    assert re.search("7 checkpoints are left out, of numbers that not all 8 models have", said[0])
    (third,) = (tmp_path / "x").glob("CNN_000002_*")
    shutil.rmtree(third / "checkpoint_000000")
    with one_line("its 8 models have no checkpoint of one number"):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "y", "wildpark")
    shutil.rmtree(tmp_path / "x")
    with one_line("is no folder"):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "y", "wildpark")
    (tmp_path / "x").mkdir()
    with one_line("holds no model"):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "y", "wildpark")
    assert not (tmp_path / "y").exists()


def test_networks_of_other_images_are_refused(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "x")
    zoo = store_zoo(tmp_path / "gray", dataclasses.replace(park(models=1), dataset=small_spec().dataset))
    jaxzoo.export_zoo(zoo, tmp_path / "y", "wildpark")
    (gray,) = (tmp_path / "y").glob("CNN_*")
    shutil.move(gray, tmp_path / "x" / "gray")
    with one_line("gray: has 1 channels of images and 10 classes, expected 3 and 10"):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "wildpark")


def test_a_share_that_is_not_known_stays_so(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "x")
    (second,) = (tmp_path / "x").glob("CNN_000001_*")
    change(lambda table: table.update(last_result={"test/acc": math.nan}))(second)
    back = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "wildpark")
    assert back.metrics_at(2)["test_accuracy"].isna().tolist() == [model == 1 for model in range(8)]


MIXTURE = {"name": "z", "architecture": None, "size": 12, "channels": 3, "classes": 10, "epochs": 1}
TWO = tuple(Architecture(name=name, layers=("flatten", {"dense": "classes"})) for name in ("a", "b"))


def test_a_spec_of_an_imported_zoo_says_its_architectures():
    spec = ImportedSpec(**MIXTURE, architectures=TWO)
    assert read_table(json.loads(json.dumps(full_table(spec))), ImportedSpec) == spec
    assert (spec.architecture_names, spec.architecture_label) == (("a", "b"), "2 architectures")
    plain = full_table(ImportedSpec(**MIXTURE | {"architecture": "small-cnn-zoo", "size": 28}))
    assert "architectures" not in plain  # zoo.json of earlier imports stays as it was
    for changes, message in (
        ({}, "architecture is None, expected a name, or several architectures"),
        ({"architectures": TWO[:1]}, "architecture is None"),
        ({"architecture": "c", "architectures": TWO[:1]}, "architecture is 'c', expected one of: a"),
        ({"architecture": "cnn-s", "architectures": TWO[:1]}, "architecture is 'cnn-s', expected one of: a"),
        ({"architecture": "a", "architectures": TWO}, "architecture is 'a', expected none beside 2"),
        ({"architecture": "wide"}, "architecture is 'wide', expected one of: cnn-s"),
        ({"architectures": (*TWO, TWO[0])}, "no name twice"),
    ):
        with one_line(message):
            ImportedSpec(**MIXTURE | changes)
    with pytest.raises(InputError, match=r"has 2 architectures, expected one: zoo\.groups has each"):
        assert spec.layers
