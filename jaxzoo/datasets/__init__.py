"""From a dataset's name to its images."""

from jaxzoo.datasets.images import Images
from jaxzoo.datasets.load import images_at_hand, load_images

__all__ = ["Images", "images_at_hand", "load_images"]
