"""The bytes that models take on disk, known from their shapes before anything is compiled."""

import functools
import math

from jaxzoo.spec.asked import asked_of
from jaxzoo.spec.layers import weight_names
from jaxzoo.spec.plan import Cohort, CohortKey
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.retention import METRICS_BYTES, CohortBytes
from jaxzoo.training.memory import FLOAT_BYTES, tree_bytes
from jaxzoo.training.outputs import VALUE_BYTES, output_shape
from jaxzoo.training.programs import state_shapes
from jaxzoo.training.sparsify import build_method


def cohort_bytes(spec: ZooSpec, cohort: Cohort, twin: TwinSpec | None = None) -> CohortBytes:
    """What a cohort, or its twins, writes."""
    snapshot, resume = _model_bytes(cohort.key, twin)
    asked, outputs = asked_of(spec, cohort.key, twin), spec.outputs
    shapes = () if outputs is None else [output_shape(outputs.kind, cohort.key, split) for split in outputs.splits]
    return CohortBytes(
        models=len(cohort.members),
        snapshot=snapshot + (0 if twin is not None else optimizer_bytes(spec, cohort.key)),
        resume=resume,
        steps=len(asked.moments),
        outputs=VALUE_BYTES * sum(map(math.prod, shapes)),
        output_epochs=len(asked.outputs),
    )


def optimizer_bytes(spec: ZooSpec, key: CohortKey) -> int:
    """Bytes of the optimizer's state of one model in every snapshot, 0 where it is not kept there."""
    kept = spec.snapshots is not None and spec.snapshots.keep_optimizer
    return tree_bytes(state_shapes(key, None, 1).optimizer) if kept else 0


@functools.lru_cache(maxsize=64)
def _model_bytes(key: CohortKey, twin: TwinSpec | None) -> tuple[int, int]:
    """Bytes of one model in a snapshot, and in what training goes on from."""
    dense = state_shapes(key, None, 1)
    snapshot = METRICS_BYTES + tree_bytes((dense.params, dense.batch_stats))
    if twin is None:
        return snapshot, tree_bytes(dense.optimizer)
    sparsities = 1 + len(weight_names(key.layers))
    return snapshot + FLOAT_BYTES * sparsities, tree_bytes(state_shapes(key, build_method(twin, key.layers), 1))
