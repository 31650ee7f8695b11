"""The alternatives in PyTorch: one model per core, as the original trains, and `torch.func` over stacked models."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from jaxzoo.bench.contenders import Contender, own_peak_memory
from jaxzoo.models.variables import variable_shapes
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.layers import Activation, Conv, Dense, Flatten, Layers, MaxPool

EXAMPLES, BATCH = 5000, 10


def one_model_per_core(layers: Layers, dataset: DatasetSpec) -> Contender:
    """A plain training loop of one model, in as many processes as there are cores."""
    start = time.monotonic()
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(len(os.sched_getaffinity(0))):
        own_end, other_end = context.Pipe()
        context.Process(target=_serve_loop, args=(other_end, layers, dataset), daemon=True).start()
        pipes.append(own_end)
    for pipe in pipes:
        pipe.recv()  # set up: all processes have started before any of them is timed

    memory = [0.0] * len(pipes)

    def run(seconds: float) -> float:
        for pipe in pipes:
            pipe.send(seconds)
        rates, memory[:] = zip(*(pipe.recv() for pipe in pipes), strict=True)
        return sum(rates)

    return Contender(run, time.monotonic() - start, lambda: sum(memory))


def stacked_models(layers: Layers, dataset: DatasetSpec, models: int) -> Contender:
    """`torch.func.vmap` of one model's gradient over stacked weights, and Adam on the stack."""
    start = time.monotonic()
    networks = [_network(layers, dataset) for _ in range(models)]
    params, _ = torch.func.stack_module_state(networks)
    params = {name: value.detach().requires_grad_() for name, value in params.items()}
    optimizer = torch.optim.Adam(params.values(), lr=3e-4)

    def loss(params: dict[str, torch.Tensor], batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(torch.func.functional_call(networks[0], params, (batch,)), labels)

    gradients = torch.func.vmap(torch.func.grad(loss))
    images, labels = _examples(dataset)

    def step() -> int:
        choice = torch.randint(0, EXAMPLES, (models, BATCH))
        for name, gradient in gradients(params, images[choice], labels[choice]).items():
            params[name].grad = gradient
        optimizer.step()
        return models * BATCH

    return _timed(step, start)


def _serve_loop(pipe: Connection, layers: Layers, dataset: DatasetSpec) -> None:
    """A process of `one_model_per_core`: answers each number of seconds with a rate and the peak memory in MB."""
    torch.set_num_threads(1)  # every core has a process of its own
    start = time.monotonic()
    network = _network(layers, dataset)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    images, labels = _examples(dataset)

    def step() -> int:
        choice = torch.randint(0, EXAMPLES, (BATCH,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images[choice]), labels[choice]).backward()
        optimizer.step()
        return BATCH

    contender = _timed(step, start)
    pipe.send(contender.setup_seconds)
    while True:
        pipe.send((contender.run(pipe.recv()), own_peak_memory()))


def _timed(step: Callable[[], int], start: float) -> Contender:
    for _ in range(3):  # the first step allocates gradients and the optimizer's state
        step()
    setup = time.monotonic() - start

    def run(seconds: float) -> float:
        samples = 0
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            samples += step()
        return samples / (time.monotonic() - begin)

    return Contender(run, setup)


def _network(layers: Layers, dataset: DatasetSpec) -> torch.nn.Sequential:
    """The architecture with tanh, read off its layer tuple."""
    shapes = variable_shapes(layers, dataset)["params"]
    modules: list[Any] = []
    for layer in layers:
        match layer:
            case Conv(name, kernel, features):
                modules.append(torch.nn.Conv2d(shapes[name]["kernel"][2], features, kernel))
            case Dense(name, _):
                modules.append(torch.nn.Linear(shapes[name]["kernel"][0], shapes[name]["kernel"][1]))
            case MaxPool():
                modules.append(torch.nn.MaxPool2d(2))
            case Activation():
                modules.append(torch.nn.Tanh())
            case Flatten():
                modules.append(torch.nn.Flatten())
    return torch.nn.Sequential(*modules)


def _examples(dataset: DatasetSpec) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(EXAMPLES, dataset.channels, dataset.size, dataset.size)
    return images, torch.randint(0, dataset.classes, (EXAMPLES,))
