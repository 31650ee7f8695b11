"""How sparse models are."""

import numpy as np

from jaxzoo.models.networks import Params


def sparsity_metrics(params: Params) -> dict[str, np.ndarray]:
    """Zero weights of all weights, (models,), in total and per layer, from leaves (models, ...); biases do not count.

    "sparsity", and "sparsity_<layer>" in the order of the layers.
    """
    kernels = {layer: np.asarray(kinds["kernel"]) for layer, kinds in params.items() if "kernel" in kinds}
    zeros = {layer: (leaf == 0).reshape(len(leaf), -1).sum(axis=1) for layer, leaf in kernels.items()}
    sizes = {layer: leaf[0].size for layer, leaf in kernels.items()}
    per_layer = {f"sparsity_{layer}": zeros[layer] / sizes[layer] for layer in kernels}
    return {"sparsity": sum(zeros.values()) / np.float64(sum(sizes.values()))} | per_layer
