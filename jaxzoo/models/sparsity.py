"""Measures how sparse models are."""

import numpy as np

from jaxzoo.models.networks import Params
from jaxzoo.models.trees import each_leaf
from jaxzoo.spec.module import is_kernel, names_of_layers


def sparsity_metrics(params: Params) -> dict[str, np.ndarray]:
    """The share of weights that are zero, (models,), in total and per layer, from leaves (models, ...).

    The keys are "sparsity", and "sparsity_<layer>" in the order of the layers (see `names_of_layers`). Biases do not
    count.
    """
    leaves = {path: np.asarray(leaf) for path, leaf in each_leaf(params) if is_kernel(path, np.ndim(leaf) - 1)}
    kernels = dict(zip(names_of_layers([*leaves]), leaves.values(), strict=True))
    zeros = {layer: (leaf == 0).reshape(len(leaf), -1).sum(axis=1) for layer, leaf in kernels.items()}
    sizes = {layer: leaf[0].size for layer, leaf in kernels.items()}
    per_layer = {f"sparsity_{layer}": zeros[layer] / sizes[layer] for layer in kernels}
    return {"sparsity": sum(zeros.values()) / np.float64(sum(sizes.values()))} | per_layer
