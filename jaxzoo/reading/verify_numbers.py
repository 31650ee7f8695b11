"""Whether the numbers of a snapshot, or of outputs, are those of a zoo's networks and do not contradict each other."""

from collections.abc import Iterator

import numpy as np

from jaxzoo.models.variables import each_leaf, network_shapes
from jaxzoo.reading.asking import keeps_optimizer
from jaxzoo.reading.zoo import Zoo
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.checkpoints import Tree
from jaxzoo.storage.imported import ImportedRecord
from jaxzoo.storage.snapshots import Whole


def check_numbers(zoo: Zoo, whole: Whole, models: int, loss_name: str) -> Iterator[str]:
    """Yields a line about what is wrong with a whole snapshot of a cohort, whose loss is the metric of that name."""
    shapes = {
        collection: {name: (models, *shape) for name, shape in each_leaf(tree)}
        for collection, tree in network_shapes(zoo.layers, zoo.spec.classes, zoo.image_shape).items()
    }
    variables = {name: tree for name, tree in whole.variables.items() if name != "optimizer"}
    got = {name: {leaf: np.shape(values) for leaf, values in each_leaf(tree)} for name, tree in variables.items()}
    if got != shapes:
        yield "its arrays are not those of the zoo's networks"
        return
    if keeps_optimizer(zoo.record) != (lengths_of(whole.variables.get("optimizer", {})) == {models}):
        yield f"its optimizer's state is not that of {models} models"
    says, loss = (np.asarray(whole.metrics.get(name, ())) for name in ("finite", loss_name))
    if not says.shape == loss.shape == (models,):
        yield f"it has no finite or no {loss_name} of {models} models"
        return
    # not every other format has losses: then only the weights say whether a model is finite
    unknown = isinstance(zoo.record, ImportedRecord) and bool(np.isnan(loss).all())
    finite = (unknown | np.isfinite(loss)) & _finite(whole.variables["params"], models)
    # what variational dropout learns besides the weights that are saved may be infinite alone
    exact = zoo.record.twin is None and not unknown
    wrong = np.flatnonzero(says != finite if exact else says & ~finite)
    if wrong.size:
        yield f"finite is {bool(says[wrong[0]])} of the model in row {wrong[0]}, whose numbers say otherwise"


def _finite(params: Tree, models: int) -> np.ndarray:
    finite = np.ones(models, bool)
    for _, leaf in each_leaf(params):
        finite &= np.isfinite(leaf).reshape(models, -1).all(axis=1)
    return finite


def lengths_of(tree: Tree) -> set[int]:
    """The lengths of the first axes of all leaves."""
    return {np.shape(leaf)[0] if np.ndim(leaf) else -1 for _, leaf in each_leaf(tree)}


def check_outputs(zoo: Zoo, outputs: Tree, models: int) -> Iterator[str]:
    """Yields a line where whole outputs are not those that the spec asks for."""
    assert isinstance(zoo.spec, ZooSpec)
    assert zoo.spec.outputs is not None
    kind, splits = zoo.spec.outputs.kind, zoo.spec.outputs.splits
    each = (zoo.spec.classes,) if kind == "logits" else ()
    dataset = zoo.spec.dataset_of(zoo.member(int(zoo.members["model"][0])).hyperparameters)
    wanted = {kind: {split: (models, getattr(dataset, split), *each) for split in splits}}
    got = {name: {split: np.shape(values) for split, values in tree.items()} for name, tree in outputs.items()}
    if got != wanted:
        yield f"its arrays are not the {kind} of {models} models on {', '.join(splits)}"
