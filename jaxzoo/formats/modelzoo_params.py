"""What a params.json of the original model zoos says of a member, from jaxzoo's words and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxzoo.errors import InputError, shown
from jaxzoo.formats.tables import plain
from jaxzoo.reading.torch_state import steps_per_epoch
from jaxzoo.reading.zoo import Zoo
from jaxzoo.spec import grid
from jaxzoo.spec.fields import LARGEST
from jaxzoo.spec.grid import ACTIVATIONS, FACTORS, NAMES
from jaxzoo.spec.layers import LAYERS
from jaxzoo.spec.optimizer import OPTIMIZER_PARAMETERS, Optimizer, optimizers_by_label
from jaxzoo.spec.parameters import given_parameters
from jaxzoo.spec.plan import Member
from jaxzoo.spec.zoo_spec import ZooSpec

Params = dict[str, Any]

TYPES: Mapping[str, str] = {
    "cnn-s": "CNN",
    "cnn-l": "CNN3",
    "resnet-18": "Resnet18",
    "resnet-18-narrow": "Resnet18",
}
# ours, and theirs; where a value is not known the key is left out
WORDS: Mapping[str, str] = {
    "initialization": "model::init_type",
    "optimizer": "optim::optimizer",
}
NUMBERS: dict[str, str] = {
    "dropout": "model::dropout",
    "learning_rate": "optim::lr",
    "weight_decay": "optim::wd",
}
ACTIVATION, MOMENTUM, EPOCHS, BATCH_SIZE, SEED = (
    *("model::nlin", "optim::momentum", "training::epochs_train", "training::batchsize", "seed"),
)
OWN = "jaxzoo::"  # what the names of factors begin with that the originals do not have
NAMED = ("batch_size", "momentum")  # factors that they have
OPTIM = "optim::"  # what the names of an optimizer's parameters begin with
KNOWN_TYPES = frozenset(kind + ending for kind in TYPES.values() for ending in ("", "_ARD"))


def check_holds(zoo: Zoo) -> None:
    """Raises InputError for networks that the layout has no type of."""
    if zoo.architecture not in TYPES:
        raise InputError(
            f"{zoo.path}: {zoo.architecture} is no network of the format modelzoo, expected one of: "
            f"{', '.join(TYPES)}; safetensors, numpy and parquet hold every network"
        )


def params_of(zoo: Zoo, member: Member) -> Params:
    """The contents of a member's params.json."""
    spec, own = zoo.spec, member.hyperparameters
    optimizer = optimizers_by_label(spec.source.optimizers)[own["optimizer"]] if isinstance(spec, ZooSpec) else None
    params: Params = {
        "model::type": TYPES[zoo.architecture],
        "model::channels_in": spec.image_shape[-1],
        "model::o_dim": spec.classes,
        ACTIVATION: own["activation"].replace("_", ""),
        "model::use_bias": True,
        **{theirs: own[ours] for ours, theirs in (*WORDS.items(), *NUMBERS.items()) if own[ours] is not None},
        **({} if optimizer is None else _optimizer_params(optimizer)),
        MOMENTUM: _momentum(spec, own, optimizer),
        EPOCHS: zoo.record.epochs,
        SEED: member.seed,
    }
    params |= {OWN + name: value for name, value in own.items() if name in FACTORS and name not in NAMED}
    batch_size = own.get("batch_size", spec.batch_size)
    if batch_size is not None:
        params[BATCH_SIZE] = batch_size
    if isinstance(spec, ZooSpec) and spec.schedule.kind == "one-cycle":
        params |= {
            "optim::scheduler": "OneCycleLR",
            "scheduler::steps_per_epoch": steps_per_epoch(spec, spec.dataset_of(own)),
            "training::loss": "nll",
            "training::dataloader": "normal",
        }
    return params


def _momentum(spec: Any, own: Mapping[str, Any], optimizer: Optimizer | None) -> float:
    if "momentum" in own:  # an imported member says it
        return float(plain(own["momentum"]) or 0.0)
    if optimizer is None or "momentum" not in optimizer.values:
        return 0.0
    return float(spec.momentum if optimizer.momentum is None else optimizer.momentum)


def _optimizer_params(optimizer: Optimizer) -> Params:
    """The name, which the original's code compares with its own, and each parameter that is not at its default."""
    given = {OPTIM + name: value for name, value in given_parameters(optimizer).items()}
    return {WORDS["optimizer"]: optimizer.name, **given}


def _optimizer_label(path: Path, params: Params) -> Any:
    """What a member's row says of its optimizer. The momentum has a column of its own."""
    name = params.get(WORDS["optimizer"])
    known = OPTIMIZER_PARAMETERS.get(name, {}) if isinstance(name, str) else {}
    given = {each: params[OPTIM + each] for each in known if each != "momentum" and OPTIM + each in params}
    if not given:
        return name
    try:
        return Optimizer(name=str(name), **given).label
    except InputError as error:
        raise InputError(f"{path}: {OPTIM}{error}") from error


def row_of(path: Path, params: Any) -> dict[str, Any]:
    """The member that a params.json, in `path`, describes, as a row of an import.

    What `model::o_dim` and `model::use_bias` say is not looked at: the originals say 4 and False of ten outputs with
    biases. Raises InputError for what no member can be.
    """
    if not isinstance(params, dict):
        raise InputError(f"{path}: holds {shown(params)}, expected a table of hyperparameters")
    kind = params.get("model::type")
    if kind not in KNOWN_TYPES:
        raise InputError(f"{path}: model::type is {shown(kind)}, expected one of: {', '.join(sorted(KNOWN_TYPES))}")
    activations = {name.replace("_", ""): name for name in ACTIVATIONS}
    nlin = params.get(ACTIVATION)
    if nlin not in activations:
        raise InputError(f"{path}: {ACTIVATION} is {shown(nlin)}, expected one of: {', '.join(activations)}")
    seed = params.get(SEED)
    if type(seed) is not int or not 0 <= seed <= LARGEST:
        raise InputError(f"{path}: seed is {shown(seed)}, expected a whole number, 0 or more")
    row: dict[str, Any] = {"seed": seed, "activation": activations[nlin]}
    factors = {name: OWN + name for name in FACTORS if OWN + name in params}
    named = {name: theirs for name, theirs in factors.items() if name in NAMES}
    counted = {name: theirs for name, theirs in factors.items() if name not in NAMES}
    for names, kinds, wanted in (({**WORDS, **named}, (str,), "a word"), (NUMBERS | counted, (int, float), "a number")):
        for ours, theirs in names.items():
            value = params.get(theirs)
            plain_kind = isinstance(value, kinds) and not isinstance(value, bool)
            if value is not None and not (plain_kind and (isinstance(value, str) or abs(value) <= LARGEST)):
                raise InputError(f"{path}: {theirs} is {shown(value)}, expected {wanted}")
            row[ours] = float(value) if isinstance(value, int) and grid.TYPES[ours] is not int else value
    row["optimizer"] = _optimizer_label(path, params)
    momentum = params.get(MOMENTUM)
    if isinstance(momentum, int | float) and abs(momentum) <= 1:
        row["momentum"] = float(momentum)
    return row


def batch_size_of(params: Mapping[str, Any]) -> int | None:
    """The batch size, None where it is not said."""
    size = params.get(BATCH_SIZE)
    return size if type(size) is int and size >= 1 else None


assert {*TYPES} <= {*LAYERS}
