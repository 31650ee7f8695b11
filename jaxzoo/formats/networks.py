"""Which networks the parameters are of that others have written, told by their shapes."""

import math
from collections.abc import Iterator, Sequence

from jaxzoo.errors import MOST_SHOWN, InputError
from jaxzoo.formats.format import Network
from jaxzoo.models.torch_names import SIZES
from jaxzoo.models.variables import each_leaf, network_shapes
from jaxzoo.spec.layers import LAYERS, Flatten, Layers, weight_layers
from jaxzoo.spec.shapes import shape_after

Shape = tuple[int, ...]

MOST_PIXELS = 256  # of a size that only a dense layer tells


def find_network(where: object, parameters: Sequence[tuple[str, Shape]], sizes: Sequence[int] = ()) -> Network:
    """The networks that have such parameters: (kind, shape) of each in the order of the layers.

    Kinds are kernel, bias, scale, mean and var, and kernels are (height, width, in, out) or (in, out). Within a layer
    they may come in any order. Where several sizes of images fit, they are of the first of the `sizes`, or of SIZES:
    a network that takes the mean over all positions does not tell. `where` is what the error names. Raises InputError
    where no network of `LAYERS` fits.
    """
    kernels = [shape for kind, shape in parameters if kind == "kernel"]
    if kernels and len(kernels[0]) == 4 and len(kernels[-1]) == 2 and kernels[-1][1] >= 2:
        channels, classes = kernels[0][2], kernels[-1][1]
        for name, layers in LAYERS.items():
            for side in _fitting_sizes(layers, kernels, sizes):
                network = Network(name, (side, side, channels), classes)
                if _by_kind(_parameters_of(network)) == _by_kind(parameters):
                    return network
    text = ", ".join(f"{kind} {'x'.join(map(str, shape))}" for kind, shape in parameters)
    text = text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."
    raise InputError(f"{where}: its parameters are {text or 'none'}, expected those of {', '.join(LAYERS)}")


def paths_of(network: Network, kinds: Sequence[str]) -> list[tuple[str, ...]]:
    """Where each of the parameters that `find_network` was given lies in the variables: (collection, layer, kind)."""
    paths = {kind: iter([path for path, _ in each_leaf(_shapes_of(network)) if path[-1] == kind]) for kind in {*kinds}}
    return [next(paths[kind]) for kind in kinds]


def _fitting_sizes(layers: Layers, kernels: Sequence[Shape], sizes: Sequence[int]) -> Iterator[int]:
    """Sizes of images by which the layers may have the kernels. The exact check takes long, and is left for few."""
    weighted = weight_layers(layers)
    classes = kernels[-1][-1]
    if [layer.features or classes for layer in weighted] != [kernel[-1] for kernel in kernels]:
        return
    flattens = Flatten() in layers
    likely = [*sizes, *SIZES, *(range(1, MOST_PIXELS + 1) if flattens else [])]
    before = layers[: layers.index(Flatten())] if flattens else layers
    for each in dict.fromkeys(likely):
        try:
            before_dense = shape_after(before, (each, each, kernels[0][2]), classes)
        except InputError:  # the images are too small
            continue
        if not flattens or math.prod(before_dense) == math.prod(kernels[len(weight_layers(before))][:-1]):
            yield each


def _shapes_of(network: Network) -> dict[str, object]:
    return dict(network_shapes(network.layers, network.classes, network.image_shape))


def _parameters_of(network: Network) -> list[tuple[str, Shape]]:
    return [(path[-1], shape) for path, shape in each_leaf(_shapes_of(network))]


def _by_kind(parameters: Sequence[tuple[str, Shape]]) -> dict[str, list[Shape]]:
    """The shapes of each kind in their order: so the order of kinds within a layer does not count."""
    return {kind: [shape for other, shape in parameters if other == kind] for kind, _ in parameters}
