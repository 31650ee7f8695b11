"""The embedded images: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels in 17 shades of gray."""

import numpy as np

from jaxzoo.datasets.images import Images, Split, draw_splits, make_images
from jaxzoo.datasets.preprocessing import resize
from jaxzoo.errors import InputError
from jaxzoo.spec.dataset_spec import DatasetSpec

EMBEDDED = "digits"
SHADES = 16  # the value of the brightest of the 17


def load_digits(dataset: DatasetSpec) -> Images:
    """The digits, resized and split at random with seed 42, since they come without a test split of their own.

    Raises InputError if the spec wants another number of images than there are.
    """
    from sklearn import datasets  # here: importing jaxzoo must not import scikit-learn

    bunch = datasets.load_digits()
    wanted = dataset.train + dataset.validation + dataset.test
    if wanted != len(bunch.target):
        raise InputError(f"dataset {dataset.name!r}: holds {len(bunch.target)} images, expected {wanted}")
    shades = np.round(bunch.images * (255 / SHADES)).astype(np.uint8)[..., None]
    everything = Split(np.stack([resize(image, dataset.size) for image in shades]), bunch.target.astype(np.int32))
    return make_images(dataset, *draw_splits(dataset, everything, None))
