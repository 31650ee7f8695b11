"""An afternoon's research on a zoo: how models are connected, and what their weights tell of them.

    python docs/afternoon.py zoos/digits

It needs PyTorch for its second half (pip install '.[torch]').
"""

import sys
import time
from collections.abc import Iterator

import jax
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import jaxzoo
from jaxzoo.analysis.alignment import Alignment
from jaxzoo.analysis.diversity import sample_pairs

PAIRS, POINTS, PASSES = 20, 11, 30


def barriers(zoo: jaxzoo.Zoo) -> None:
    """How much accuracy is lost half-way between two models, before and after their hidden units are matched."""
    good = zoo.select(epochs=zoo.epochs[-1], finite=True)
    weights, models = good.weights(), good.table["model"].to_numpy()
    pairs = sample_pairs(len(good), PAIRS)
    first, second = weights[pairs[:, 0]], weights[pairs[:, 1]]
    aligned, _ = Alignment.of(zoo).match(first, second)
    lines = np.stack([jaxzoo.interpolate(first, end, POINTS) for end in (second, aligned)])  # (2, pairs, points, D)
    start = time.monotonic()
    # every point on a line is computed with the activation of the model that the line begins at
    table = zoo.evaluate(lines, "test", models=models[pairs[:, 0]][:, None])
    seconds = time.monotonic() - start
    accuracy = table["accuracy"].to_numpy().reshape(lines.shape[:-1])
    ends = accuracy[..., [0, -1]].mean(axis=-1)
    lost = ends - accuracy[..., POINTS // 2]
    print(f"{len(table)} models on {zoo.spec.dataset.test:,} images: {seconds:.1f} s")
    for name, values in zip(("as they are", "units matched"), lost, strict=True):
        lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
        print(f"lost half-way, {name}: {median:.3f} (quartiles {lower:.3f} and {upper:.3f})")


class Batches(IterableDataset):
    """Batches of states. Every worker of a DataLoader reads a share of its own from the disk."""

    def __init__(self, states: jaxzoo.Selection) -> None:
        self.states = states

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        worker = get_worker_info()
        share = self.states.take(np.arange(worker.id, len(self.states), worker.num_workers))
        for batch in share.batches(32, seed=worker.seed % 2**32, labels=["test_accuracy"]):
            yield torch.from_numpy(batch.weights), torch.from_numpy(batch.labels["test_accuracy"])


def predict_accuracy(zoo: jaxzoo.Zoo) -> None:
    """A linear model from weights to test accuracy, on models that it has never seen."""
    trained = [epoch for epoch in zoo.epochs if epoch > 0]
    parts = zoo.select(epochs=trained, finite=True, max_abs_weight=10).split(0.5, 0.25, 0.25)
    # spawn, and not fork: this process has read the zoo and used JAX, whose threads a forked one would miss
    loader = DataLoader(
        Batches(parts.train),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    weights = torch.from_numpy(parts.train.weights())
    centre, scale = weights.mean(0), weights.std(0) + 1e-6
    torch.manual_seed(0)
    model = torch.nn.Linear(weights.shape[1], 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(PASSES):
        for batch, accuracy in loader:
            loss = torch.nn.functional.mse_loss(model((batch - centre) / scale)[:, 0], accuracy)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        guess = model((torch.from_numpy(parts.test.weights()) - centre) / scale)[:, 0].numpy()
    truth = parts.test.table["test_accuracy"].to_numpy()
    score = 1 - ((guess - truth) ** 2).mean() / truth.var()
    print(f"test accuracy from weights: R^2 {score:.2f} on {len(truth)} states of models that were never seen")


def sharpness(zoo: jaxzoo.Zoo) -> None:
    """The length of the gradient on some training images, beside the accuracy."""
    images, some = zoo.images(), slice(0, 500)
    models = np.arange(min(16, len(zoo.members)))
    weights = zoo.weights(zoo.epochs[-1], models)
    _, gradient = jaxzoo.loss_and_gradient(
        zoo, weights, images.normalised("train", some), images.train.labels[some], models=models
    )
    lengths = np.linalg.norm(gradient, axis=1)
    accuracy = zoo.metrics_at(zoo.epochs[-1])["test_accuracy"].to_numpy()[models]
    print(f"length of the gradient against accuracy: correlation {np.corrcoef(lengths, accuracy)[0, 1]:.2f}")


def main() -> None:
    jaxzoo.use_all_cores()
    zoo = jaxzoo.open_zoo(sys.argv[1])
    print(f"{zoo}, on {len(jax.devices())} devices")
    barriers(zoo)
    sharpness(zoo)
    predict_accuracy(zoo)


if __name__ == "__main__":
    main()
