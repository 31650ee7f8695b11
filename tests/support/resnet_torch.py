"""ResNet-18 for small images written for PyTorch by hand, and the way of weights to it."""

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    """Two 3 x 3 convolutions and what bypasses them."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, values):
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(values)))))
        return torch.relu(inner + self.downsample(values))


class ResNet18(nn.Module):
    """Named as torchvision names its own."""

    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for stage in range(4):
            outputs = width * 2**stage
            inputs = outputs if stage == 0 else outputs // 2
            blocks = nn.Sequential(Block(inputs, outputs, 1 if stage == 0 else 2), Block(outputs, outputs, 1))
            setattr(self, f"layer{stage + 1}", blocks)
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, values):
        values = torch.relu(self.bn1(self.conv1(values)))
        for stage in range(4):
            values = getattr(self, f"layer{stage + 1}")(values)
        return self.fc(values.mean(dim=(2, 3)))


PLACES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def state_dict_of(variables):
    """One model's variables as `torch` names and lays them out, float64."""
    state = {}
    for collection in variables.values():
        for layer, kinds in collection.items():
            name = layer.replace("_", ".")
            for kind, leaf in kinds.items():
                leaf = np.asarray(leaf, np.float64)
                if kind == "kernel":
                    state[f"{name}.weight"] = leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf.T
                else:
                    state[f"{name}.{PLACES[kind]}"] = leaf
    return {name: torch.tensor(np.ascontiguousarray(leaf)) for name, leaf in state.items()}


def load(network, variables):
    """The network in float64 with one model's variables; its count of batches is of no effect."""
    network = network.double()
    missing, unexpected = network.load_state_dict(state_dict_of(variables), strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing)
    assert not unexpected
    return network
