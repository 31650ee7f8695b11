"""The tree of the original model zoos: what its readers rely on, a tree made by hand, and what is refused."""

import json
import math
import pickle
import shutil
from collections import OrderedDict

import numpy as np
import pytest
from exchange import assert_same_zoo, store_with_a_diverged_model
from populations import resnet_spec, small_spec, store_zoo

import jaxzoo
from jaxzoo.analysis.alignment import Alignment
from jaxzoo.errors import InputError
from jaxzoo.formats.format import ImportOptions, Report
from jaxzoo.formats.modelzoo_import import read
from jaxzoo.spec.optimizer import Optimizer

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

torch.set_num_threads(1)  # another test runs beside

METRICS = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc")
POSITIONS = {("cnn-s", 0.0): (0, 3, 6, 9, 11), ("cnn-s", 0.5): (0, 4, 8, 11, 14), ("cnn-l", 0.0): (0, 4, 8, 13, 16)}


@pytest.mark.parametrize(("architecture", "dropout"), POSITIONS)
def test_what_the_readers_rely_on(architecture, dropout, tmp_path):
    zoo = store_zoo(tmp_path / "z", small_spec(architecture, seeds=2, epochs=2, dropout=(dropout,)))
    (root,) = jaxzoo.export_zoo(zoo, tmp_path / "x", "modelzoo", epochs=[0, 2])
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    assert [path.name.split("_")[:3] + path.name.split("_")[4:6] for path in folders] == [
        ["NN", "tune", "trainable", f"{model:05d}", str(model)] for model in range(2)
    ]
    assert {path.name for path in root.iterdir()} - {path.name for path in folders} == {
        "config.json",
        "index_dict.json",
    }
    assert sorted(path.name for path in folders[1].iterdir()) == [
        *("checkpoint_000000", "checkpoint_000002", "params.json", "result.json")
    ]
    lines = [json.loads(line) for line in (folders[1] / "result.json").read_text().splitlines()]
    assert [line["training_iteration"] for line in lines] == [0, 1, 2]  # every epoch, exported or not
    params = json.loads((folders[1] / "params.json").read_text())
    assert all(line["config"] == params for line in lines)
    assert {*METRICS} <= {*lines[0]}
    assert params["model::type"] == {"cnn-s": "CNN", "cnn-l": "CNN3"}[architecture]
    assert (params["seed"], params["optim::momentum"], params["training::epochs_train"]) == (2, 0.0, 2)
    state = torch.load(folders[1] / "checkpoint_000002" / "checkpoints", weights_only=True)
    wanted = [f"module_list.{n}.{kind}" for n in POSITIONS[architecture, dropout] for kind in ("weight", "bias")]
    assert [*state] == wanted
    assert all(tensor.untyped_storage().nbytes() == 4 * tensor.numel() for tensor in state.values())
    index = json.loads((root / "index_dict.json").read_text())
    assert [n for n, _ in index["layer"]] == [*POSITIONS[architecture, dropout]]
    # the columns of the index are those of the tensors one after another, weight before bias
    vector = torch.cat([tensor.flatten() for tensor in state.values()])
    for row, (n, kind) in enumerate(index["layer"]):
        start, outputs, size, inputs = (
            index[name][row] for name in ("idx_start", "kernel_no", "kernel_size", "channels_in")
        )
        end = start + outputs * size * inputs
        assert torch.equal(vector[start:end], state[f"module_list.{n}.weight"].flatten())
        assert torch.equal(vector[end : end + outputs], state[f"module_list.{n}.bias"])
        assert kind == ("conv2d" if state[f"module_list.{n}.weight"].ndim == 4 else "fc")
    assert index["kernel_size"][0] == {"cnn-s": 25, "cnn-l": 9}[architecture]


def test_a_zoo_comes_back_with_statistics_activations_and_diverged_models(tmp_path):
    spec = small_spec(
        seeds=3, epochs=2, activation=("leaky_relu", "gelu"), optimizer=("sgd", "rms_prop"), dropout=(0.5,)
    )
    zoo = store_with_a_diverged_model(tmp_path / "z", spec)
    jaxzoo.export_zoo(zoo, tmp_path / "x", "modelzoo")
    back = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "back", "modelzoo")
    assert_same_zoo(zoo, back)
    assert back.spec.batch_size == zoo.spec.batch_size
    assert {*back.members["momentum"]} == {0.9, 0.0}
    narrow = store_zoo(tmp_path / "n", resnet_spec())
    said = []
    jaxzoo.export_zoo(narrow, tmp_path / "y", "modelzoo", on_notice=said.append)
    assert_same_zoo(narrow, jaxzoo.import_zoo(tmp_path / "y", tmp_path / "resnets", "modelzoo"))
    assert "no narrow Resnet18" in said[0]
    published = jaxzoo.import_zoo(tmp_path / "y", tmp_path / "cifar", "modelzoo", dataset="cifar10")
    assert (published.spec.dataset.name, published.image_shape) == ("cifar10", (32, 32, 3))
    (first, *_) = sorted((tmp_path / "y").glob("NN*"))
    params = json.loads((first / "params.json").read_text())
    steps = math.ceil(narrow.spec.dataset.train / narrow.spec.batch_size)
    assert (params["optim::scheduler"], params["scheduler::steps_per_epoch"]) == ("OneCycleLR", steps)
    state = torch.load(first / "checkpoint_000001" / "checkpoints", weights_only=True)
    assert state["bn1.num_batches_tracked"].dtype == torch.int64
    assert int(state["bn1.num_batches_tracked"]) == steps


def test_an_optimizer_has_the_originals_name_and_its_parameters_stand_beside_it(tmp_path):
    """The originals' code compares optim::optimizer with its own names."""
    given = (Optimizer(name="sgd", momentum=0.5, nesterov=True), Optimizer(name="adam", beta1=0.5))
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=1, epochs=1, optimizer=("sgd", *given, "adamw")))
    (root,) = jaxzoo.export_zoo(zoo, tmp_path / "x", "modelzoo")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    tables = [json.loads((folder / "params.json").read_text()) for folder in folders]
    own = [{name: value for name, value in table.items() if name.startswith("optim::")} for table in tables]
    shared = {"optim::lr": 0.001, "optim::wd": 0.0}
    assert own == [
        {"optim::optimizer": "sgd", "optim::momentum": 0.9, **shared},
        {"optim::optimizer": "sgd", "optim::momentum": 0.5, "optim::nesterov": True, **shared},
        {"optim::optimizer": "adam", "optim::momentum": 0.0, "optim::beta1": 0.5, **shared},
        {"optim::optimizer": "adamw", "optim::momentum": 0.0, **shared},
    ]
    back = jaxzoo.import_zoo(root, tmp_path / "back", "modelzoo")
    assert back.members["optimizer"].tolist() == ["sgd", "sgd(nesterov=True)", "adam(beta1=0.5)", "adamw"]
    assert back.members["momentum"].tolist() == [0.9, 0.5, 0.0, 0.0]  # that of sgd has a column of its own
    file = folders[2] / "params.json"
    file.write_text(file.read_text().replace('"optim::beta1": 0.5', '"optim::beta1": 5'))
    with pytest.raises(InputError, match=r"params\.json: optim::beta1 is 5\.0, expected 0 <= beta1"):
        jaxzoo.import_zoo(root, tmp_path / "again", "modelzoo")


def test_losses_that_are_not_finite_are_nan(tmp_path):
    zoo = store_with_a_diverged_model(tmp_path / "z", small_spec(seeds=2, epochs=1))
    table = zoo.metrics.copy()
    table.loc[table["model"] == 1, "train_loss"] = np.inf
    zoo.__class__ = type("Changed", (type(zoo),), {"metrics": property(lambda self: table)})
    jaxzoo.export_zoo(zoo, tmp_path / "x", "modelzoo", epochs="last")
    lines = [(path / "result.json").read_text() for path in sorted((tmp_path / "x").glob("NN*"))]
    assert '"train_loss": NaN' in lines[1]
    assert "Infinity" not in lines[1]
    back = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "back", "modelzoo")
    assert back.metrics_at(1)["finite"].tolist() == [True, False]


def test_members_with_and_without_dropout_go_into_trees_of_their_own(tmp_path):
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=2, epochs=1, dropout=(0.0, 0.5)))
    folders = jaxzoo.export_zoo(zoo, tmp_path / "x", "modelzoo")
    assert [folder.name for folder in folders] == ["x-without-dropout", "x-with-dropout"]
    assert_same_zoo(zoo, jaxzoo.import_zoo(folders[0], tmp_path / "a", "modelzoo"), [0, 1])
    assert_same_zoo(zoo, jaxzoo.import_zoo(folders[1], tmp_path / "b", "modelzoo"), [2, 3])
    # published trees mix them: an import takes each member as it is
    for path in folders[1].glob("NN*"):
        shutil.move(path, folders[0])
    assert_same_zoo(zoo, jaxzoo.import_zoo(folders[0], tmp_path / "c", "modelzoo"))
    assert [folder.name for folder in jaxzoo.export_zoo(zoo, tmp_path / "y", "modelzoo", where="dropout == 0")] == ["y"]


class HandCNN(nn.Module):
    """A CNN-s with dropout as the original's code has it."""

    def __init__(self, activation):
        super().__init__()
        layers = [nn.Conv2d(1, 8, 5), nn.MaxPool2d(2), activation(), nn.Dropout(0.5)]
        layers += [nn.Conv2d(8, 6, 5), nn.MaxPool2d(2), activation(), nn.Dropout(0.5)]
        layers += [nn.Conv2d(6, 4, 2), activation(), nn.Flatten(), nn.Linear(36, 20), activation(), nn.Dropout(0.5)]
        self.module_list = nn.ModuleList([*layers, nn.Linear(20, 10)])

    def forward(self, values):
        for module in self.module_list:
            values = module(values)
        return values


def write_by_hand(root, seeds=(7, 3), epochs=(0, 1, 5)):
    """A tree as the original's code leaves it, with its quirks, and the modules whose weights it holds."""
    modules = {}
    for number, seed in enumerate(seeds):
        folder = (
            root / f"NN_tune_trainable_1a2b3_{number:05d}_{number}_model::dropout=0.5,seed={seed}_2021-07-01_16-59-53"
        )
        folder.mkdir(parents=True)
        config = {
            **{"model::type": "CNN", "model::o_dim": 4, "model::use_bias": False, "model::nlin": "leakyrelu"},
            **{"model::dropout": 0.5, "model::init_type": "kaiming_uniform", "model::channels_in": 1, "seed": seed},
            **{"optim::optimizer": "sgd", "optim::lr": 0.001, "optim::wd": 0, "optim::momentum": 0.9},
            **{"training::batchsize": 8, "training::epochs_train": 5, "cuda": False},
        }
        (folder / "params.json").write_text(json.dumps(config))
        (folder / "params.pkl").write_bytes(b"other files of Ray Tune are not looked at")
        lines = []
        for epoch in range(6):
            value = (number + 1) / (epoch + 2)
            lines.append({**dict.fromkeys(METRICS, value), "training_iteration": epoch, "config": config, "pid": 1})
        (folder / "result.json").write_text("\n".join(map(json.dumps, lines)))
        for epoch in epochs:
            torch.manual_seed(100 * seed + epoch)
            modules[number, epoch] = HandCNN(nn.LeakyReLU).eval()
            path = folder / f"checkpoint_{epoch:06d}"
            path.mkdir()
            torch.save(OrderedDict(modules[number, epoch].state_dict()), path / "checkpoints")
    (root / "config.json").write_text("{}")
    (root / ".DS_Store").mkdir()
    return modules


def test_a_tree_made_by_hand_is_read(tmp_path):
    modules = write_by_hand(tmp_path / "x")
    zoo = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "modelzoo", dataset="mnist")
    assert zoo.epochs == (0, 1, 5)
    assert zoo.members["seed"].tolist() == [7, 3]
    assert {*zoo.members["activation"]} == {"leaky_relu"}
    assert (zoo.spec.classes, zoo.spec.batch_size, zoo.spec.dataset.name) == (10, 8, "mnist")
    assert zoo.metrics_at(3)["test_accuracy"].tolist() == [np.float32(0.2), np.float32(0.4)]
    images = np.random.default_rng(0).standard_normal((5, 28, 28, 1), np.float32)
    for (model, epoch), module in modules.items():
        with torch.no_grad():
            wanted = module(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
        variables = {
            "params": {
                name: {kind: leaf[0] for kind, leaf in kinds.items()}
                for name, kinds in zoo.params(epoch, model).items()
            }
        }
        # float32 sums of at most 200 products, in another order
        np.testing.assert_allclose(zoo.network_of(model).apply(variables, images), wanted, atol=1e-5)
    assert np.isfinite(jaxzoo.predict_params(zoo, zoo.weights(5), images)).all()
    assert Alignment.of(zoo).match(zoo.weights(5)[0], zoo.weights(5)).aligned.shape == (2, 2464)
    assert [*jaxzoo.verify_zoo(zoo.path, deep=True)] == []


def test_zeros_of_variational_dropout_come_from_its_variances(tmp_path):
    write_by_hand(tmp_path / "x", epochs=(1,))
    draws = np.random.default_rng(0)
    zeros = {}
    for path in sorted((tmp_path / "x").glob("NN*")):
        params = json.loads((path / "params.json").read_text())
        (path / "params.json").write_text(json.dumps(params | {"model::type": "CNN_ARD"}))
        lines = [json.loads(line) for line in (path / "result.json").read_text().splitlines()]
        (path / "result.json").write_text("\n".join(json.dumps(line | {"sparsity_ratio": 0.5}) for line in lines))
        file = path / "checkpoint_000001" / "checkpoints"
        state = torch.load(file, weights_only=True)
        for name, tensor in [*state.items()]:
            module, kind = name.rsplit(".", 1)
            if kind == "bias" and tensor.numel() not in (8, 6, 4):  # dense layers have variances of weights alone
                continue
            log_alpha = draws.uniform(-4, 10, tensor.shape).astype(np.float32)
            zeros[path.name, name] = log_alpha >= 3
            variance = log_alpha + 2 * np.log(np.abs(tensor.numpy()) + 1e-15)
            state[f"{module}.log_sigma2" + ("_bias" if kind == "bias" else "")] = torch.tensor(variance)
        torch.save(state, file)
    zoo = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "modelzoo")
    assert zoo.record.twin.method == "variational-dropout"
    kernels, biases = (zoo.params(1)["conv2"][kind] for kind in ("kernel", "bias"))
    for model, path in enumerate(sorted((tmp_path / "x").glob("NN*"))):
        wanted = zeros[path.name, "module_list.4.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(kernels[model] == 0, wanted)
        np.testing.assert_array_equal(biases[model] == 0, zeros[path.name, "module_list.4.bias"])
    assert zoo.metrics_at(1)["sparsity"].between(0.45, 0.55).all()  # 7 of 14 equally likely


class Harmful:
    def __reduce__(self):
        return print, ("code of the file was run",)


def damage_pickle(folder):
    (folder / "checkpoint_000005" / "checkpoints").write_bytes(pickle.dumps({"module_list.0.weight": Harmful()}))


def damage_zip(folder):
    file = folder / "checkpoint_000005" / "checkpoints"
    file.write_bytes(file.read_bytes()[:2000])


def save_state(change):
    def damage(folder):
        file = folder / "checkpoint_000005" / "checkpoints"
        state = torch.load(file, weights_only=True)
        torch.save(change(state), file)

    return damage


def replace_json(name, change):
    def damage(folder):
        (folder / name).write_text(change((folder / name).read_text()))

    return damage


DAMAGES = (
    (damage_pickle, "is no plain state dict, expected tensors by name, nothing else"),
    (damage_zip, "is no plain state dict"),
    (save_state(lambda state: [*state.values()]), r"is no plain state dict.* \(it holds a list\)"),
    (save_state(lambda state: {**state, "epoch": 5}), r"is no plain state dict.* \(it holds a int\)"),
    (
        save_state(lambda state: {**state, "module_list.4.weight": state["module_list.4.weight"][:5]}),
        "fits no architecture",
    ),
    (save_state(lambda state: {k: v for k, v in state.items() if k != "module_list.14.bias"}), "fits no architecture"),
    (lambda folder: shutil.rmtree(folder / "checkpoint_000001"), "has no checkpoint of epoch 1"),
    (lambda folder: (folder / "checkpoint_000001" / "checkpoints").unlink(), "cannot be read"),
    (lambda folder: (folder / "extra").mkdir(), "extra: is no checkpoint"),
    (lambda folder: (folder / "result.json").unlink(), "result.json: cannot be read"),
    (replace_json("result.json", lambda text: "\n".join(text.splitlines()[:5])), "has no line of epoch 5"),
    (replace_json("result.json", lambda text: text.replace("test_acc", "acc")), "has no test_acc"),
    (replace_json("result.json", lambda text: text[:-5]), "result.json: is damaged"),
    (replace_json("params.json", lambda text: text.replace('"CNN"', '"MLP"')), "model::type is 'MLP', expected one of"),
    (replace_json("params.json", lambda text: text.replace("leakyrelu", "swish")), "model::nlin is 'swish'"),
    (replace_json("params.json", lambda text: text.replace('"seed": 3', '"seed": "3"')), "seed is '3'"),
    (replace_json("params.json", lambda text: text.replace("0.001", "[1]")), r"optim::lr is \[1\], expected a number"),
)


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_member_is_named_and_left_out_on_request(damage, message, tmp_path, capfd):
    write_by_hand(tmp_path / "x")
    (second,) = (tmp_path / "x").glob("NN*_00001_*")
    damage(second)
    with pytest.raises(InputError, match=message) as caught:
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "modelzoo")
    assert second.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "z").exists()
    said = []
    zoo = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "modelzoo", skip_damaged=True, on_notice=said.append)
    assert zoo.members["seed"].tolist() == [7]
    assert len(said) == 1
    assert second.name in said[0]
    assert "code of the file was run" not in capfd.readouterr().out


def test_what_is_no_tree_is_refused(tmp_path):
    def import_all():
        read(tmp_path / "x", ImportOptions(), Report())

    with pytest.raises(InputError, match="is no folder, expected the tree of a zoo"):
        import_all()
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match="holds no model with weights"):
        import_all()
    write_by_hand(tmp_path / "x" / "inner")
    with pytest.raises(InputError, match="inner: is no folder of a member"):
        import_all()
