"""The embedded images: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels in 17 shades of gray."""

import numpy as np
from PIL import Image

from jaxzoo.datasets.images import SPLIT_SEED, Images, Split, make_images, take
from jaxzoo.spec import DatasetSpec


def load_digits(dataset: DatasetSpec) -> Images:
    """Resized (bilinear) and split with seed 42: the digits come without a test split of their own."""
    from sklearn import datasets  # here: importing jaxzoo must not import scikit-learn

    bunch = datasets.load_digits()
    pixels = np.stack([_resize(image, dataset.size) for image in bunch.images])[..., None]
    everything = Split(pixels, bunch.target.astype(np.int32))
    order = np.random.RandomState(SPLIT_SEED).permutation(len(bunch.target))
    train, validation, test = np.split(order, [dataset.train, dataset.train + dataset.validation])
    return make_images(dataset, take(everything, train), take(everything, validation), take(everything, test))


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    shades = Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8))
    return np.asarray(shades.resize((size, size), Image.Resampling.BILINEAR))
