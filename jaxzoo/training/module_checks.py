"""What a zoo of a Flax module cannot have, since the module's code is not jaxzoo's."""

from jaxzoo.errors import InputError
from jaxzoo.spec.factors import LIMITING
from jaxzoo.spec.layers import keeps_statistics
from jaxzoo.spec.plan import Plan
from jaxzoo.spec.zoo_spec import ZooSpec


def check_module_spec(spec: ZooSpec) -> None:
    """Raises InputError for what only layers of jaxzoo do: dropout at a member's rate, and products in bfloat16."""
    dropout = spec.values("dropout")
    if any(dropout):
        raise InputError(
            f"zoo {spec.name!r}: dropout is {dropout}, expected 0: the module {spec.architecture} has its own"
        )
    if spec.precision != "float32":
        got = f"zoo {spec.name!r}: precision is {spec.precision!r}"
        raise InputError(f"{got}, expected 'float32': the module {spec.architecture} computes in what it says itself")


def check_batches(plan: Plan) -> None:
    """Raises InputError where a module with batch statistics would see an incomplete batch.

    Those are filled up with copies of images, which count nothing in the loss. Layers of jaxzoo leave them out of their
    statistics, but a module cannot be told.
    """
    spec = plan.spec
    if spec.network is None or not keeps_statistics(spec.layers):
        return
    for name in LIMITING:
        if name in spec.declared:
            raise InputError(
                f"zoo {spec.name!r}: {name} is declared, expected none: the module {spec.architecture} keeps batch "
                "statistics, and members may see an incomplete batch"
            )
    for key in {cohort.key for cohort in plan.cohorts}:
        rest = key.dataset.train % key.batch_size
        if rest:
            raise InputError(
                f"zoo {spec.name!r}: dataset.train is {key.dataset.train}, expected a multiple of the batch size, "
                f"{key.batch_size}: {spec.architecture} keeps batch statistics, and the last batch has {rest} images"
            )
