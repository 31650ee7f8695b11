"""Measures how sparse models are."""

import numpy as np

from jaxzoo.models.networks import Params


def sparsity_metrics(params: Params) -> dict[str, np.ndarray]:
    """The share of weights that are zero, (models,), in total and per layer, from leaves (models, ...).

    The keys are "sparsity", and "sparsity_<layer>" in the order of the layers. Biases do not count.
    """
    kernels = {layer: np.asarray(kinds["kernel"]) for layer, kinds in params.items() if "kernel" in kinds}
    zeros = {layer: (leaf == 0).reshape(len(leaf), -1).sum(axis=1) for layer, leaf in kernels.items()}
    sizes = {layer: leaf[0].size for layer, leaf in kernels.items()}
    per_layer = {f"sparsity_{layer}": zeros[layer] / sizes[layer] for layer in kernels}
    return {"sparsity": sum(zeros.values()) / np.float64(sum(sizes.values()))} | per_layer
