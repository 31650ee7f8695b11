"""The bytes that models take on disk, known from their shapes before anything is compiled."""

import functools
import math
from typing import Any

import jax

from jaxzoo.spec.layers import weight_layers
from jaxzoo.spec.plan import Cohort, CohortKey
from jaxzoo.spec.zoo_spec import TwinSpec
from jaxzoo.storage.retention import METRICS_BYTES, CohortBytes
from jaxzoo.training.programs import state_shapes
from jaxzoo.training.sparsify import build_method

FLOAT_BYTES = 4


def cohort_bytes(cohort: Cohort, twin: TwinSpec | None = None) -> CohortBytes:
    """What a cohort, or its twins, writes."""
    return CohortBytes(len(cohort.members), *_model_bytes(cohort.key, twin))


@functools.lru_cache(maxsize=64)
def _model_bytes(key: CohortKey, twin: TwinSpec | None) -> tuple[int, int]:
    """Bytes of one model in a snapshot, and in what training goes on from."""
    dense = state_shapes(key, None, 1)
    snapshot = METRICS_BYTES + _bytes((dense.params, dense.batch_stats))
    if twin is None:
        return snapshot, _bytes(dense.optimizer)
    sparsities = 1 + len(weight_layers(key.layers))
    return snapshot + FLOAT_BYTES * sparsities, _bytes(state_shapes(key, build_method(twin, key.layers), 1))


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
