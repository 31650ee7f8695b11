"""Augments training images on the device, per member and step, with random numbers from the member's key.

Augmentation acts on raw pixels, before normalisation, so that pixels from outside the image are black as in the
original (torchvision's transforms of Pillow images). Shapes: B images, H, W, C.
"""

import jax
import jax.numpy as jnp

from jaxzoo.spec.zoo_spec import AUGMENTATIONS

PADDING = 4  # pixels on each side
DEGREES = 20.0  # the largest angle, either way


def random_crop(key: jax.Array, images_BHWC: jax.Array, padding: int = PADDING) -> jax.Array:
    """Each image padded on all sides and cut back to its size, at a position of its own; all are equally likely."""
    corner_B2 = jax.random.randint(key, (images_BHWC.shape[0], 2), 0, 2 * padding + 1)
    return crop(images_BHWC, corner_B2, padding)


def random_flip(key: jax.Array, images_BHWC: jax.Array) -> jax.Array:
    """Each image mirrored left to right with probability 1/2."""
    return flip(images_BHWC, jax.random.bernoulli(key, shape=(images_BHWC.shape[0],)))


def random_rotation(key: jax.Array, images_BHWC: jax.Array, degrees: float = DEGREES) -> jax.Array:
    """Each image rotated about its centre by an angle of its own, uniform in -degrees..degrees."""
    angle_B = jax.random.uniform(key, (images_BHWC.shape[0],), minval=-degrees, maxval=degrees)
    return rotate(images_BHWC, angle_B)


DRAWN = dict(zip(AUGMENTATIONS, (random_crop, random_flip, random_rotation), strict=True))


def augment(key: jax.Array, images_BHWC: jax.Array, names: tuple[str, ...], first: jax.Array | int = 0) -> jax.Array:
    """The images after the named augmentations, in the order of the names. `key` is the member's key of this step.

    An image is augmented in the same way in a whole batch and in a part of the batch that begins at image `first`.
    """

    def augment_one(index: jax.Array, image_HWC: jax.Array) -> jax.Array:
        images_1HWC = image_HWC[None]
        image_key = jax.random.fold_in(key, index)
        for number, name in enumerate(names):
            # folded by number, not by name: an augmentation that is listed twice draws twice
            images_1HWC = DRAWN[name](jax.random.fold_in(image_key, number), images_1HWC)
        return images_1HWC[0]

    return jax.vmap(augment_one)(first + jnp.arange(len(images_BHWC)), images_BHWC)


def crop(images_BHWC: jax.Array, corner_B2: jax.Array, padding: int) -> jax.Array:
    """Cuts windows of the images' size out of the padded images; `corner_B2` has their upper rows and left columns."""
    sides = (padding, padding)
    padded = jnp.pad(images_BHWC, ((0, 0), sides, sides, (0, 0)))
    shape = images_BHWC.shape[1:]
    return jax.vmap(lambda image, corner: jax.lax.dynamic_slice(image, (*corner, 0), shape))(padded, corner_B2)


def flip(images_BHWC: jax.Array, chosen_B: jax.Array) -> jax.Array:
    """The chosen images mirrored left to right."""
    return jnp.where(chosen_B[:, None, None, None], images_BHWC[:, :, ::-1], images_BHWC)


def rotate(images_BHWC: jax.Array, angle_B: jax.Array) -> jax.Array:
    """Rotates each image counterclockwise by its angle in degrees, without interpolation.

    A pixel of the result is the pixel of the image that its centre lies in when it is rotated back.
    """
    height, width = images_BHWC.shape[1:3]
    # the centres of pixels, measured from the centre of the image
    y_H1 = jnp.arange(height, dtype=float)[:, None] + 0.5 - height / 2
    x_1W = jnp.arange(width, dtype=float)[None, :] + 0.5 - width / 2

    def turn(image_HWC: jax.Array, angle: jax.Array) -> jax.Array:
        cosine, sine = jnp.cos(jnp.deg2rad(angle)), jnp.sin(jnp.deg2rad(angle))
        column = jnp.floor(cosine * x_1W - sine * y_H1 + width / 2).astype(int)
        row = jnp.floor(sine * x_1W + cosine * y_H1 + height / 2).astype(int)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        # clipped, since every index must be valid; pixels from outside become black on the next line
        turned = image_HWC[row.clip(0, height - 1), column.clip(0, width - 1)]
        return jnp.where(inside[..., None], turned, 0)

    return jax.vmap(turn)(images_BHWC, angle_B)
