"""A model of a zoo as a module of PyTorch, which is imported when the function is called and not before."""

from typing import TYPE_CHECKING

from jaxzoo.errors import InputError
from jaxzoo.reading.torch_state import import_torch, member_entries
from jaxzoo.reading.zoo import Zoo

if TYPE_CHECKING:
    import torch


def torch_module(zoo: Zoo, model: int, epoch: int | None = None) -> "torch.nn.Module":
    """A model at an epoch, by default its last one, as a PyTorch module: normalised images (B, C, H, W) to logits.

    The module is float32 and in evaluation mode. It gives the logits of `zoo.network_of(model)` on images
    (B, H, W, C), to rounding; that of a zoo in bfloat16 computes in float32, too. Its state dict is that of
    `zoo.to_torch`. After `module.train()` it drops units out at the model's own rate and normalises by batches. Raises
    InputError for a model or an epoch that the zoo does not hold, and where PyTorch is not installed.
    """
    import_torch("torch_module")
    from jaxzoo.formats.torch_network import build_module  # imported late: it imports PyTorch

    (number,) = zoo.numbers_of([model])
    layers = zoo.of_one([number]).layers
    at = _last_epoch(zoo, number) if epoch is None else epoch
    dropout = zoo.member(number).hyperparameters["dropout"] or 0.0
    entries = member_entries(layers, zoo.spec, dropout)
    module = build_module(layers, entries, zoo.network_of(number).activation, dropout)
    module.load_state_dict(zoo.to_torch(number, at), assign=True)
    return module.eval()


def _last_epoch(zoo: Zoo, model: int) -> int:
    """The last epoch whose weights of the model are there; cohorts of a partial zoo are at different epochs."""
    for epoch in reversed(zoo.epochs):
        if model in zoo.models_at(epoch):
            return epoch
    hint = "" if zoo.partial else "; open_zoo(path, partial=True) opens what is there"
    raise InputError(f"{zoo.path}: model {model} has weights at no epoch, expected one or more{hint}")
