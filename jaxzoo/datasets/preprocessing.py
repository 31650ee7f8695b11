"""Makes a raw image the pixels that a network sees: to gray or colour, then resized or cropped, as in the original."""

import numpy as np
from PIL import Image

from jaxzoo.errors import InputError
from jaxzoo.spec.dataset_spec import DatasetSpec

LUMA = np.array([2989, 5870, 1140])  # ITU-R BT.601, in ten-thousandths


def preprocess(dataset: DatasetSpec, image: np.ndarray) -> np.ndarray:
    """Makes an image (H, W, C) uint8 with 1 or 3 channels one of (size, size, channels) uint8. Raises InputError."""
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or image.dtype != np.uint8 or image.size == 0:
        raise InputError(
            f"dataset {dataset.name!r}: an image is {image.dtype}{image.shape}, expected uint8 (height, width, 1 or 3)"
        )
    if image.shape[-1] != dataset.channels:
        image = to_gray(image, dataset.gray) if dataset.channels == 1 else np.repeat(image, 3, axis=-1)
    if image.shape[:2] == (dataset.size, dataset.size):
        return image
    return resize(image, dataset.size) if dataset.fit == "resize" else _crop(dataset, image)


def to_gray(image: np.ndarray, kind: str = "luma") -> np.ndarray:
    """The luma 0.2989 R + 0.587 G + 0.114 B, or the "mean" of R, G and B, rounded: (H, W, 3) to (H, W, 1)."""
    # in whole numbers, where every machine gets the same result; adding half the divisor rounds
    weights, total = (LUMA, 10_000) if kind == "luma" else (np.ones(3, int), 3)
    return ((image.astype(np.int64) @ weights + total // 2) // total).astype(np.uint8)[..., None]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Pillow's bilinear filter with antialiasing, on the 8-bit image. Sides of different lengths become equal."""
    # Pillow takes a gray image without a channel axis
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    resized = Image.fromarray(squeezed).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(size, size, -1)


def _crop(dataset: DatasetSpec, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    size = dataset.size
    if min(height, width) < size:
        raise InputError(f"dataset {dataset.name!r}: an image is {height} x {width}, expected {size} or more to crop")
    # halves go to the even neighbour, as in torchvision's centre crop
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[top : top + size, left : left + size]
