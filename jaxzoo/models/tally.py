"""Cross-entropy and correct predictions of M models, as sums over examples that are divided once, at the end."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxzoo.models.networks import Array


class Tally(NamedTuple):
    """Sums over examples, (M,): of the cross-entropy in nats, and of correct predictions."""

    loss: Array
    correct: Array


def empty_tally(like_M: Array) -> Tally:
    """A tally of zeros for as many models as the array has, on the devices that hold the array."""
    return Tally(jnp.zeros_like(like_M), jnp.zeros_like(like_M))


def count_batch(
    logits_BOM: jax.Array, label_BM: jax.Array, weight_B: jax.Array, smoothing_M: Array | None = None
) -> Tally:
    """Cross-entropy of log-softmax, and correct predictions, both summed over the batch by weight.

    Labels with a model axis of 1 are shared by all models. Weights are (B,), or (B, M) where models count other images.
    With `smoothing_M` a label is that class with 1 - smoothing, and all classes alike with the rest, as in PyTorch.
    """
    chosen = jnp.arange(logits_BOM.shape[1]).reshape(-1, *(1,) * (label_BM.ndim - 1)) == label_BM[:, None]
    log_share_BOM = jax.nn.log_softmax(logits_BOM, axis=1)
    loss_BM = -jnp.sum(jnp.where(chosen, log_share_BOM, 0.0), axis=1)
    if smoothing_M is not None:
        smoothing = jnp.asarray(smoothing_M)
        loss_BM = (1 - smoothing) * loss_BM - smoothing * jnp.mean(log_share_BOM, axis=1)
    correct_BM = (jnp.argmax(logits_BOM, axis=1) == label_BM).astype(jnp.float32)
    if weight_B.ndim > 1:
        return Tally(*(jnp.sum(weight_B * each_BM, axis=0) for each_BM in (loss_BM, correct_BM)))
    # by default a TPU would round every loss to bfloat16
    return Tally(*(jnp.tensordot(weight_B, each_BM, 1, precision="highest") for each_BM in (loss_BM, correct_BM)))
