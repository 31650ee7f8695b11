"""The bytes that models take on disk, known from their shapes before anything is compiled."""

import functools

from jaxzoo.spec.layers import weight_layers
from jaxzoo.spec.plan import Cohort, CohortKey
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.retention import METRICS_BYTES, CohortBytes
from jaxzoo.training.memory import FLOAT_BYTES, tree_bytes
from jaxzoo.training.programs import state_shapes
from jaxzoo.training.sparsify import build_method


def cohort_bytes(cohort: Cohort, twin: TwinSpec | None = None) -> CohortBytes:
    """What a cohort, or its twins, writes."""
    return CohortBytes(len(cohort.members), *_model_bytes(cohort.key, twin))


@functools.lru_cache(maxsize=64)
def _model_bytes(key: CohortKey, twin: TwinSpec | None) -> tuple[int, int]:
    """Bytes of one model in a snapshot, and in what training goes on from."""
    dense = state_shapes(key, None, 1)
    snapshot = METRICS_BYTES + tree_bytes((dense.params, dense.batch_stats))
    if twin is None:
        return snapshot, tree_bytes(dense.optimizer)
    sparsities = 1 + len(weight_layers(key.layers))
    return snapshot + FLOAT_BYTES * sparsities, tree_bytes(state_shapes(key, build_method(twin, key.layers), 1))
