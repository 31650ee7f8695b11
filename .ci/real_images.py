"""Holds the real MNIST and Fashion-MNIST, prepared in the data directory given, to what is known of them."""

import sys

import numpy as np

import jaxzoo

CLASSES = {
    "mnist": [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958],
    "fashion_mnist": [7000] * 10,
}
# what mean and standard deviation come to by the original's constants: its Fashion-MNIST is not centred
NORMALISED = {"mnist": (0.0, 1.0), "fashion_mnist": (-0.43, 0.71), "digits": (0.0, 1.0)}

for zoo in ("mnist-seed", "fashion-mnist-seed", "digits"):
    dataset = jaxzoo.load_spec(zoo).dataset
    images = jaxzoo.load_images(dataset, sys.argv[1])
    splits = (images.train, images.validation, images.test)
    labels = np.concatenate([split.labels for split in splits])
    if dataset.name in CLASSES:
        assert [len(split.labels) for split in splits] == [50_000, 10_000, 10_000]
        assert np.bincount(labels).tolist() == CLASSES[dataset.name]
        assert np.bincount(images.test.labels).min() >= 892
    normalised = (images.train.pixels / 255 - images.mean) / images.std
    np.testing.assert_allclose([normalised.mean(), normalised.std()], NORMALISED[dataset.name], atol=0.01)
    print(dataset.name, len(labels), images.fingerprint)
