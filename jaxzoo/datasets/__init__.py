"""From a dataset's name to its images."""

from jaxzoo.datasets.images import Images
from jaxzoo.datasets.load import load_images

__all__ = ["Images", "load_images"]
