"""The order in which members see training examples in an epoch, and what they see of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxzoo.datasets.subsets import Seen, examples_seen_by
from jaxzoo.keys import Role, fold, member_keys
from jaxzoo.models.networks import Array
from jaxzoo.spec.plan import CohortKey
from jaxzoo.training.hyperparameters import Hyperparameters


class Order(NamedTuple):
    """The training examples of an epoch, in the order of every member, (S * B, M).

    `examples` are their numbers. `labels` are those that are trained on, None where they are the images' own.
    `triggered` says which have the patch, None where none has. `seen`, (M,), has how many of the first examples a
    member sees, None where it sees all of them.
    """

    examples: Array
    labels: Array | None = None
    triggered: Array | None = None
    seen: Array | None = None


def see(key: CohortKey, hyper: Hyperparameters, labels: jax.Array) -> Seen:
    """What every member sees of the training examples, (N, M), the same in all epochs, and for its twin.

    `labels` are those of all splits, of which training images come first.
    """
    labels_N = labels[: key.dataset.train]

    def of_member(root: jax.Array, whole: dict[str, jax.Array]) -> Seen:
        return examples_seen_by(key.factors, root, whole, labels_N, key.dataset.classes)

    whole = {name: jnp.asarray(values) for name, values in hyper.whole.items()}
    return jax.vmap(of_member, out_axes=-1)(root_keys(hyper.seed, twins=False), whole)


def shuffle(key: CohortKey, twins: bool, seed_M: Array, seen: Seen, epoch: jax.Array) -> Order:
    """Every member's own order of the training images in an epoch. Image 0 fills up the last batch."""
    count, batch = key.dataset.train, key.batch_size

    def permutation(member_key: jax.Array) -> jax.Array:
        return jax.random.permutation(fold(member_key, Role.SHUFFLE, epoch), count)

    order_NM = jax.vmap(permutation, out_axes=-1)(root_keys(seed_M, twins))
    special = any(part is not None for part in seen)
    order = jax.vmap(_ordered, in_axes=-1, out_axes=-1)(order_NM, seen) if special else Order(order_NM)
    padding = ((0, -count % batch), (0, 0))
    return order._replace(
        examples=jnp.pad(order.examples, padding),
        labels=None if order.labels is None else jnp.pad(order.labels, padding),
        triggered=None if order.triggered is None else jnp.pad(order.triggered, padding),
    )


def root_keys(seed_M: Array, twins: bool) -> jax.Array:
    """The keys, (M,), that all keys of the members are folded from. A twin has another than its parent."""
    key_M = member_keys(jnp.asarray(seed_M))
    return key_M if not twins else jax.vmap(lambda key: fold(key, Role.TWIN))(key_M)


def _ordered(order_N: jax.Array, seen: Seen) -> Order:
    """One member's order, with the examples that it sees moved to its front, and what it sees of them."""
    count = None
    if seen.kept is not None:
        order_N = order_N[jnp.argsort(~seen.kept[order_N], stable=True)]
        count = jnp.sum(seen.kept, dtype=jnp.int32)
    labels, triggered = (None if part is None else part[order_N] for part in (seen.labels, seen.triggered))
    return Order(order_N, labels, triggered, count)
