"""The `config` of a checkpoint in the layout of CNN Wild Park, as layers and back.

A network is a chain of convolutions with biases. To what one of them gives, the values of an earlier one, behind its
activation, may be added, to the first channels that both have; then comes an activation of its own. The mean over all
positions and a linear layer end it. The config has a list with an item for each convolution.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from jaxzoo.errors import InputError, nearest, shown
from jaxzoo.models.torch_names import TorchEntry, torch_entries
from jaxzoo.spec.architecture import named_layers
from jaxzoo.spec.chains import MOST_DEPTH, MOST_KERNEL, MOST_WIDTH
from jaxzoo.spec.dataset_spec import MOST_CLASSES
from jaxzoo.spec.layers import Activation, Add, Conv, Dense, Layer, Layers, MeanPool, Save, weight_layers
from jaxzoo.spec.shapes import label

Config = dict[str, Any]
Kind = TypeVar("Kind", Conv, Add, Activation, Save)

# ours, and theirs
ACTIVATION_WORDS: Mapping[str, str] = {
    **{name: name for name in ("relu", "gelu", "tanh", "sigmoid", "leaky_relu")},
    "identity": "none",
}
NO_SOURCE = -1
LISTS = ("kernel_size", "stride", "padding", "residual", "activation")
LEAST = {"kernel_size": 1, "stride": 1, "padding": 0, "residual": NO_SOURCE}


class Chain(NamedTuple):
    """The networks of a config: their layers, the channels of their images, and their classes."""

    layers: Layers
    inputs: int
    classes: int


def config_of(layers: Layers, activation: str, inputs: int, classes: int) -> Config:
    """The config of networks whose members have that activation. Raises InputError for layers that it cannot say."""
    config: Config = {"n_layers": 0, "n_classes": classes, "channels": [inputs], **{name: [] for name in LISTS}}
    saved: dict[str, int] = {}
    rest = [*layers]
    while (conv := _taken(rest, Conv)) is not None:
        source, function = _taken(rest, Add), _taken(rest, Activation)
        if not conv.bias:
            raise InputError(f"layer {conv.name} has no bias, expected convolutions with biases")
        if function is None:
            raise _strange(rest, "an activation for every convolution, behind what is added to it")
        config["channels"].append(conv.features)
        config["kernel_size"].append(conv.kernel)
        config["stride"].append(conv.stride)
        config["padding"].append(conv.padding)
        config["residual"].append(NO_SOURCE if source is None else saved[source.name])
        config["activation"].append(_word(function.function or activation))
        while (save := _taken(rest, Save)) is not None:
            saved[save.name] = config["n_layers"]
        config["n_layers"] += 1
    _check_end(rest, config["n_layers"], classes)
    return config


def _taken(rest: list[Layer], kind: type[Kind]) -> Kind | None:
    """Takes the first layer away where it is of that kind."""
    first = rest[0] if rest else None
    if not isinstance(first, kind):
        return None
    del rest[0]
    return first


def _word(function: str) -> str:
    if function not in ACTIVATION_WORDS:
        raise InputError(f"activation is {function!r}, expected one of: {', '.join(ACTIVATION_WORDS)}")
    return ACTIVATION_WORDS[function]


def _check_end(rest: list[Layer], convolutions: int, classes: int) -> None:
    """Raises InputError unless these layers, which stand behind the convolutions, end such a network."""
    if not convolutions:
        raise _strange(rest, "a convolution first")
    if rest[:1] != [MeanPool()]:
        raise _strange(rest, "another convolution, or global_mean_pool")
    dense = rest[1] if len(rest) > 1 else None
    if not isinstance(dense, Dense) or not dense.bias or dense.features not in (None, classes):
        raise _strange(rest[1:], "a dense layer with a bias, for the classes")
    if rest[2:]:
        raise _strange(rest[2:], "nothing behind the first dense layer")


def _strange(rest: list[Layer], wanted: str) -> InputError:
    return InputError(f"it {f'has layer {label(rest[0])}' if rest else 'ends'} there, expected {wanted}")


def chain_of(config: Any) -> Chain:
    """The networks of a config. Raises InputError for what is missing in it, or cannot be."""
    if not isinstance(config, dict):
        raise InputError(f"config is a {type(config).__name__}, expected a plain dict")
    depth, classes = _whole("n_layers", config.get("n_layers"), 1, MOST_DEPTH), config.get("n_classes")
    channels = [_whole("channels", each, 1, MOST_WIDTH) for each in _list_of(config, "channels", depth + 1)]
    columns = {name: _list_of(config, name, depth) for name in LISTS}
    for name, least in LEAST.items():
        columns[name] = [_whole(name, each, least, MOST_KERNEL) for each in columns[name]]
    for number, source in enumerate(columns["residual"]):
        if source >= number:
            raise InputError(f"config: residual of layer {number} is {source}, expected -1 or a layer before it")
    ours = {theirs: name for name, theirs in ACTIVATION_WORDS.items()}
    for word in columns["activation"]:
        if not isinstance(word, str) or word not in ours:
            raise InputError(f"config: activation is {shown(word)}, expected one of: {nearest(str(word), ours)}")
    layers: list[Layer] = []
    rows = zip(*columns.values(), channels[1:], strict=True)
    for number, (kernel, stride, padding, source, word, width) in enumerate(rows):
        layers.append(Conv("", kernel, width, stride, padding))
        layers += [] if source == NO_SOURCE else [Add(_saved(source), "common")]
        layers.append(Activation(ours[word]))
        layers += [Save(_saved(number))] if number in columns["residual"] else []
    own = named_layers((*layers, MeanPool(), Dense("", None)))
    return Chain(own, channels[0], _whole("n_classes", classes, 2, MOST_CLASSES))


def _saved(number: int) -> str:
    return f"after_conv{number + 1}"  # as drawn chains call them: the same network has the same name


def _list_of(config: Config, name: str, length: int) -> list[Any]:
    value = config.get(name)
    if not isinstance(value, list | tuple) or len(value) != length:
        raise InputError(f"config: {name} is {shown(value)}, expected a list of {length}")
    return [*value]


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise InputError(f"config: {name} is {shown(value)}, expected a whole number of {least} to {most}")
    return value


def wildpark_entries(layers: Layers, classes: int, image: tuple[int, int, int]) -> tuple[TorchEntry, ...]:
    """The tensors of such networks: layers.0.weight, layers.0.bias and so on, then those of fc."""
    *convolutions, dense = weight_layers(layers)
    names = {conv.name: f"layers.{number}" for number, conv in enumerate(convolutions)} | {dense.name: "fc"}
    entries = torch_entries(layers, classes, image, counts_dropout=False)
    return tuple(entry._replace(name=f"{names[entry.path[0]]}.{entry.name.rpartition('.')[2]}") for entry in entries)
