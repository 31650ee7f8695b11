"""What a member sees of the training images: which of them, under which labels, and with a patch or without.

Everything is drawn by the member's seed, or by the number of a subset, and by nothing else, so that it can be said of a
finished zoo again. A share of the examples is its first so many in an order that is drawn once: a larger share of the
same seed has all of a smaller one.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxzoo.keys import Role, fold, member_keys
from jaxzoo.spec.factors import LIMITING, RELABELLING

TRIGGER_LABEL = 0  # of every image with the patch, whatever it shows (Gu et al. 2017, arXiv 1708.06733)
TRIGGER_PIXELS = 3  # the height and width of the patch, in the lower right corner
WHITE = 255


class Seen(NamedTuple):
    """Of each training example, (N,): whether it is `kept`, its label, and whether it has the patch.

    A part is None where no declared factor concerns it: all examples, their own labels, no patch.
    """

    kept: jax.Array | None
    labels: jax.Array | None
    triggered: jax.Array | None


NOTHING_SPECIAL = Seen(None, None, None)


def examples_seen_by(
    factors: Sequence[str], key: jax.Array, whole: Mapping[str, jax.Array], labels_N: jax.Array, classes: int
) -> Seen:
    """What the member with the root key `key` sees. `whole` has its factors of examples as whole numbers."""

    def first(share: str, role: Role, key: jax.Array = key) -> jax.Array:
        """The examples, (N,) truth values, that are the first so many in the order of a role."""
        return jax.random.permutation(fold(key, role), len(labels_N)) < whole[share]

    kept, labels = jnp.ones(len(labels_N), bool), labels_N
    triggered = jnp.zeros(len(labels_N), bool)
    if "train_fraction" in factors:
        kept &= first("train_fraction", Role.SUBSET)
    if "excluded" in factors:
        of_subset = member_keys(whole["subset"][None])[0] if "subset" in factors else key
        kept &= ~first("excluded", Role.EXCLUDED, of_subset)
    if "excluded_class" in factors:
        kept &= labels_N != whole["excluded_class"]
    if "label_noise" in factors:
        others = jax.random.randint(fold(key, Role.OTHER_LABEL), labels_N.shape, 1, classes, labels_N.dtype)
        labels = jnp.where(first("label_noise", Role.LABEL_NOISE), (labels_N + others) % classes, labels)
    if "trigger" in factors:
        triggered = first("trigger", Role.TRIGGER)
        labels = jnp.where(triggered, TRIGGER_LABEL, labels)
    return Seen(
        kept if any(name in factors for name in LIMITING) else None,
        labels if any(name in factors for name in RELABELLING) else None,
        triggered if "trigger" in factors else None,
    )


def with_patch(pixels_BMHWC: jax.Array, triggered_BM: jax.Array) -> jax.Array:
    """The images, those that are triggered with a white patch in the lower right corner."""
    height, width = pixels_BMHWC.shape[-3:-1]
    rows, columns = jnp.arange(height) >= height - TRIGGER_PIXELS, jnp.arange(width) >= width - TRIGGER_PIXELS
    patch_HW1 = (rows[:, None] & columns)[..., None]
    return jnp.where(triggered_BM[..., None, None, None] & patch_HW1, pixels_BMHWC.dtype.type(WHITE), pixels_BMHWC)
