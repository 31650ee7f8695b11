"""The alternatives in PyTorch: one model per core, as the original trains, and `torch.func` over stacked models."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch

from jaxzoo.bench.contenders import Contender, own_peak_memory
from jaxzoo.devices import cores_here
from jaxzoo.formats.torch_network import build_module
from jaxzoo.models.torch_names import torch_entries
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.plan import CohortKey

EXAMPLES = 5000


def one_model_per_core(key: CohortKey) -> Contender:
    """A plain training loop of one model, in as many processes as there are cores."""
    start = time.monotonic()
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(cores_here()):
        own_end, other_end = context.Pipe()
        context.Process(target=_serve_loop, args=(other_end, key), daemon=True).start()
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


def stacked_models(key: CohortKey, models: int) -> Contender:
    """`torch.func.vmap` of one model's gradient over stacked weights, and Adam on the stack."""
    start = time.monotonic()
    networks = [_network(key) for _ in range(models)]
    params, _ = torch.func.stack_module_state(networks)
    params = {name: value.detach().requires_grad_() for name, value in params.items()}
    optimizer = torch.optim.Adam(params.values(), lr=3e-4)

    def loss(params: dict[str, torch.Tensor], batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(torch.func.functional_call(networks[0], params, (batch,)), labels)

    gradients = torch.func.vmap(torch.func.grad(loss))
    images, labels = _examples(key.dataset)

    def step() -> int:
        choice = torch.randint(0, EXAMPLES, (models, key.batch_size))
        for name, gradient in gradients(params, images[choice], labels[choice]).items():
            params[name].grad = gradient
        optimizer.step()
        return models * key.batch_size

    return _timed(step, start)


def _serve_loop(pipe: Connection, key: CohortKey) -> None:
    """A process of `one_model_per_core`: answers each number of seconds with a rate and the peak memory in MB."""
    torch.set_num_threads(1)  # every core has a process of its own
    start = time.monotonic()
    network = _network(key)
    optimizer = _optimizer(key, network)
    images, labels = _examples(key.dataset)

    def step() -> int:
        choice = torch.randint(0, EXAMPLES, (key.batch_size,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images[choice]), labels[choice]).backward()
        optimizer.step()
        return key.batch_size

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


def _optimizer(key: CohortKey, network: torch.nn.Module) -> torch.optim.Optimizer:
    """The cohort's optimizer if it is sgd, else Adam; the rate does not depend on the numbers."""
    if key.optimizers[0].name == "sgd":
        return torch.optim.SGD(network.parameters(), lr=3e-4, momentum=key.momentum, weight_decay=5e-4)
    return torch.optim.Adam(network.parameters(), lr=3e-4)


def _network(key: CohortKey) -> torch.nn.Module:
    """The network of a cohort, with weights as PyTorch's own layers begin."""
    entries = torch_entries(key.layers, key.dataset.classes, key.dataset.image_shape, counts_dropout=False)
    network = build_module(key.layers, entries, key.activations[0], 0.0).to_empty(device="cpu")
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None)  # of layers with parameters
        if reset is not None:
            reset()
    return network


def _examples(dataset: DatasetSpec) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(EXAMPLES, dataset.channels, dataset.size, dataset.size)
    return images, torch.randint(0, dataset.classes, (EXAMPLES,))
