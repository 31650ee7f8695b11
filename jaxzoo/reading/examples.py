"""What members saw of the training images, said again from their seeds: which of them, and under which labels."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxzoo.compilation import compilation_cached
from jaxzoo.datasets.subsets import examples_seen_by
from jaxzoo.errors import InputError
from jaxzoo.keys import member_keys
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.factors import OF_EXAMPLES, example_numbers
from jaxzoo.spec.fields import require_choices
from jaxzoo.spec.imported_spec import AnySpec
from jaxzoo.spec.plan import Member
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.store_paths import AnyPath

AT_ONCE = 64  # members
NEEDING_LABELS = ("excluded_class", "label_noise", "trigger")


class TrainingSet(NamedTuple):
    """What models saw of the training images.

    `seen`, (models, ceil(N / 8)) uint8, has a bit for each image in the order of `zoo.images().train`: 1 where the
    model saw it. `numpy.unpackbits(seen, axis=1, count=N)` unpacks it. `labels`, (models, N), are those that it was
    trained with, None where they are the images' own.
    """

    seen: np.ndarray
    labels: np.ndarray | None


def dataset_of(path: AnyPath, spec: AnySpec, members: Sequence[Member], name: str | None = None) -> DatasetSpec:
    """The data set that members were trained on, of several the one of that name. Raises InputError."""
    if spec.dataset is None:
        raise InputError(f"{path}: its images are not known, expected an import that names a dataset")
    if not isinstance(spec, ZooSpec):
        return spec.dataset
    held = dict.fromkeys(spec.dataset_of(member.hyperparameters) for member in members)
    known = {each.name: each for each in held or [spec.dataset]}
    if name is None and len(known) > 1:
        raise InputError(f"{path}: models were trained on {len(known)} data sets, expected one of: {', '.join(known)}")
    require_choices("dataset", [name] if name is not None else [], known)
    return known[name] if name is not None else next(iter(known.values()))


@compilation_cached()
@pinned_settings()
def training_set(
    path: AnyPath, spec: AnySpec, members: Sequence[Member], epoch: int | None, read_labels: Callable[[str], np.ndarray]
) -> TrainingSet:
    """What members saw in an epoch, by default the last. `read_labels` gives those of a data set's training images.

    They are read where it depends on them. Raises InputError for an imported zoo, and what `read_labels` raises.
    """
    if not isinstance(spec, ZooSpec):
        raise InputError(f"{path}: is imported, expected a zoo of jaxzoo, which knows what its models saw")
    own = dataset_of(path, spec, members)
    epoch = spec.epochs if epoch is None else epoch
    labels = read_labels(own.name) if any(name in spec.declared for name in NEEDING_LABELS) else None
    factors = tuple(name for name in OF_EXAMPLES if name in spec.declared)
    train, classes = own.train, own.classes
    labels_N = jnp.asarray(np.zeros(train, np.int32) if labels is None else labels)

    @jax.jit
    def see(seed_M: jax.Array, whole: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        def one(key: jax.Array, whole: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            seen = examples_seen_by(factors, key, whole, labels_N, classes)
            kept = jnp.ones(train, bool) if seen.kept is None else seen.kept
            return kept, labels_N if seen.labels is None else seen.labels

        return jax.vmap(one)(member_keys(seed_M), whole)

    kept, trained = [], []
    for first in range(0, len(members), AT_ONCE):
        part = members[first : first + AT_ONCE]
        points = [example_numbers(member.point_at(epoch), factors, train) for member in part]
        whole = {name: np.array([point[name] for point in points], np.int32) for name in factors}
        seen, own = jax.device_get(see(np.array([member.seed for member in part], np.uint32), whole))
        kept.append(np.packbits(seen, axis=1))
        trained.append(own)
    relabelled = "label_noise" in factors or "trigger" in factors
    return TrainingSet(np.concatenate(kept), np.concatenate(trained) if relabelled else None)
