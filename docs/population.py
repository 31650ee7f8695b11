"""The pictures of population.md: what drawn factors do to accuracy, and how pairs part.

    python docs/population.py zoos/fashion-draws zoos/fashion-pairs --data-dir data

It writes population-draws.png and population-pairs.png.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import jaxzoo
from jaxzoo.analysis.predict import predict_classes

BINS = 8
LOGARITHMIC = ("learning_rate", "initialization_scale")


def picture_of_draws(zoo: jaxzoo.Zoo, path: str) -> None:
    """Test accuracy at the last epoch against each drawn hyperparameter: every model, and the median of eighths."""
    last = zoo.epochs[-1]
    table = zoo.metrics_at(last).merge(zoo.members, on="model")
    drawn = [name for name in ("learning_rate", "initialization_scale", "label_noise") if table[name].nunique() > 1]
    figure, axes = plt.subplots(1, len(drawn), figsize=(4 * len(drawn), 3.2), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], drawn, strict=True):
        axis.plot(table[name], table["test_accuracy"], ".", markersize=3, alpha=0.5)
        rank = table[name].rank(method="first", pct=True)
        eighths = table.groupby(np.ceil(rank * BINS))[[name, "test_accuracy"]].median()
        axis.plot(eighths[name], eighths["test_accuracy"], "k-o", markersize=4)
        axis.set_xlabel(name)
        axis.set_xscale("log" if name in LOGARITHMIC else "linear")
        print(f"{name}: median accuracy by eighths {eighths['test_accuracy'].round(3).tolist()}")
    axes[0, 0].set_ylabel(f"test accuracy, epoch {last}")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def picture_of_pairs(zoo: jaxzoo.Zoo, path: str, data_dir: str | None) -> None:
    """By epoch the distance in weights between the two of a pair, and the test images that they see otherwise."""
    pairs, images = zoo.pairs(), zoo.images(data_dir).normalised("test")
    curves = []
    for epoch in zoo.epochs:
        apart = zoo.weights(epoch, pairs["base"]) - zoo.weights(epoch, pairs["partner"])
        classes = predict_classes(zoo, images, epoch, [*range(len(zoo.members))])
        otherwise = (classes[pairs["base"]] != classes[pairs["partner"]]).mean(axis=1)
        curves.append((np.linalg.norm(apart, axis=1), otherwise))
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2))
    for axis, values, label in zip(
        axes, zip(*curves, strict=True), ("distance in weights", "predicted otherwise"), strict=True
    ):
        lower, median, upper = np.quantile(np.stack(values), [0.25, 0.5, 0.75], axis=1)
        axis.plot(zoo.epochs, median, "k-o", markersize=4)
        axis.fill_between(zoo.epochs, lower, upper, alpha=0.3)
        axis.axvline(pairs["change_epoch"][0] - 1, color="gray", linestyle=":")
        axis.set_xlabel("epoch")
        axis.set_title(f"{label} ({len(pairs)} pairs)")
        print(f"{label}: median by epoch {[float(f'{value:.3g}') for value in median]}")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Draws both pictures."""
    parser = argparse.ArgumentParser(description="Draws the pictures of population.md.")
    parser.add_argument("draws", help="the folder of a zoo whose members are drawn")
    parser.add_argument("pairs", help="the folder of a zoo of pairs")
    parser.add_argument("--data-dir", help="the datasets, as generate has it")
    options = parser.parse_args()
    jaxzoo.use_all_cores()
    picture_of_draws(jaxzoo.open_zoo(options.draws), "population-draws.png")
    picture_of_pairs(jaxzoo.open_zoo(options.pairs), "population-pairs.png", options.data_dir)


if __name__ == "__main__":
    main()
