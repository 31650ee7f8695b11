"""Augmentation on the device against NumPy and Pillow."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxzoo.keys import member_keys
from jaxzoo.training.augmentation import augment, crop, flip, random_crop, random_flip, random_rotation, rotate

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 32, 24, 3), np.uint8)
NAMES = ("crop", "flip", "rotation")


def test_a_crop_is_numpys_slice_of_the_padded_image():
    corners = np.random.default_rng(1).integers(0, 9, (64, 2))
    padded = np.pad(IMAGES, ((0, 0), (4, 4), (4, 4), (0, 0)))
    wanted = [image[top : top + 32, left : left + 24] for image, (top, left) in zip(padded, corners, strict=True)]
    np.testing.assert_array_equal(jax.jit(crop, static_argnums=2)(IMAGES, corners, 4), wanted)


def test_a_flip_is_numpys():
    chosen = np.arange(64) % 3 == 0
    wanted = [image[:, ::-1] if flipped else image for image, flipped in zip(IMAGES, chosen, strict=True)]
    np.testing.assert_array_equal(jax.jit(flip)(IMAGES, chosen), wanted)


def test_a_rotation_is_pillows():
    angles = np.linspace(-20, 20, 64, dtype=np.float32)
    wanted = np.stack(
        [np.asarray(Image.fromarray(image).rotate(angle)) for image, angle in zip(IMAGES, angles, strict=True)]
    )
    turned = np.asarray(jax.jit(rotate)(IMAGES, angles))
    # Pillow counts in 1/65536 pixels: a centre so near a border may fall to the neighbour
    assert (turned != wanted).any(axis=-1).mean() < 1e-3
    assert (wanted != IMAGES).any(axis=-1).mean() > 0.8


def test_places_sides_and_angles_are_drawn_evenly():
    keys = jax.random.split(jax.random.key(0), 200)
    lit = np.zeros((50, 9, 9, 1), np.uint8)
    lit[:, 4, 4] = 1
    cropped = np.asarray(jax.vmap(lambda key: random_crop(key, lit))(keys))
    # 81 places, 10,000 draws: 123 expected at each, five standard deviations are 55
    assert np.abs(cropped.sum(axis=(0, 1, 4), dtype=int) - 10_000 / 81).max() < 55
    sided = np.zeros((50, 1, 2, 1), np.uint8)
    sided[:, 0, 0] = 1
    flipped = np.asarray(jax.vmap(lambda key: random_flip(key, sided))(keys))[:, :, 0, 1, 0]
    assert abs(flipped.mean() - 0.5) < 0.025  # five standard deviations
    upright = np.zeros((50, 101, 101, 1), np.uint8)
    upright[:, 1:4, 49:52] = 1  # 48 pixels above the centre: goes 48 sin(angle) to the side
    turned = np.asarray(jax.vmap(lambda key: random_rotation(key, upright))(keys[:40]))[..., 0]
    side = (turned.any(axis=2) * (np.arange(101) - 50)).sum(axis=-1) / turned.any(axis=2).sum(axis=-1)
    assert np.abs(side).max() < 48 * np.sin(np.deg2rad(20)) + 1
    quartiles = 48 * np.sin(np.deg2rad([-10, 0, 10]))
    np.testing.assert_allclose(np.quantile(side, [0.25, 0.5, 0.75]), quartiles, atol=1.5)  # 2,000 angles, whole pixels


def test_a_member_draws_the_same_in_any_company_and_anew_at_each_step():
    members = member_keys(np.array([7, 8, 9]))
    pixels = IMAGES[:8]
    together = jax.jit(jax.vmap(lambda key: augment(key, pixels, NAMES)))(members)
    alone = jax.jit(lambda key: augment(key, pixels, NAMES))(members[1])
    np.testing.assert_array_equal(together[1], alone)
    part = jax.jit(lambda key: augment(key, pixels[3:], NAMES, 3))(members[1])
    np.testing.assert_array_equal(part, alone[3:])
    for other in (together[0], augment(jax.random.fold_in(members[1], 6), pixels, NAMES)):
        assert (np.asarray(other) != np.asarray(alone)).mean() > 0.3


def test_each_place_in_the_list_draws_for_itself():
    twice = augment(jax.random.key(3), IMAGES, ("flip", "flip"))
    unturned = (np.asarray(twice) == IMAGES).all(axis=(1, 2, 3))
    assert 15 < unturned.sum() < 49  # of 64, half of them; four standard deviations


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shape_and_kind_stay(dtype):
    images = IMAGES[:4].astype(dtype)
    done = augment(jax.random.key(1), images, NAMES)
    assert done.shape == images.shape
    assert done.dtype == dtype
    np.testing.assert_array_equal(augment(jax.random.key(1), images, ()), images)
