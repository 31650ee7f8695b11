"""A small zoo that keeps steps, optimizers' states and outputs, for the tests of all three."""

import dataclasses

import numpy as np
from populations import MADE, draw_leaves, record_of, replace_dataset, small_spec, write_folder

from jaxzoo.models.variables import variable_shapes
from jaxzoo.reading.stored import METRICS, STEP_METRICS
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.spec.asked import asked_of
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.snapshots import Moment, Snapshots
from jaxzoo.storage.cohort_store import CohortStore
from jaxzoo.storage.identity import identity_of
from jaxzoo.storage.zoo_folder import begin_zoo, cohort_folder

# 47 images in batches of 10: an epoch has 5 steps, so that step 5 is the end of epoch 1
STEPS = (1, 3, 5, 7, 9)


def stepped_spec(folder=None, **changes):
    """5 members in two cohorts, whose images may lie in a folder."""
    spec = replace_dataset(small_spec(seeds=5, epochs=2, activation=("tanh", "relu")), folder=folder and str(folder))
    asked = {"snapshots": Snapshots(steps=STEPS, keep_optimizer=True, examples=8), "outputs": ["test", "train"]}
    return dataclasses.replace(spec, twins=None, **asked | changes)


def plain(spec):
    """The same zoo that keeps epochs alone."""
    return dataclasses.replace(spec, snapshots=None, outputs=None)


def write_images(folder):
    write_folder(folder, stepped_spec().dataset)
    return folder


def store_stepped(folder, spec, cohorts=None):
    """The zoo on disk through the real store, its numbers drawn instead of trained."""
    plan = plan_zoo(spec)
    record = record_of(spec)
    begin_zoo(folder, record, plan, "card")
    for cohort in plan.cohorts if cohorts is None else [plan.cohorts[number] for number in cohorts]:
        asked = asked_of(spec, cohort.key)
        identity = identity_of(record, cohort.number, cohort.members, MADE)
        with CohortStore(cohort_folder(folder, cohort.number), identity, None, asked) as store:
            for epoch in range(spec.epochs + 1):
                for moment in asked.moments:
                    if moment.epoch == epoch:
                        store.save_step(moment, *drawn(spec, cohort, moment, STEP_METRICS))
                if epoch in asked.outputs:
                    store.save_outputs(epoch, drawn_outputs(spec, cohort, epoch))
                names = (*METRICS, *STEP_METRICS)
                store.save(epoch, *drawn(spec, cohort, Moment(epoch), names), [np.int32(epoch)])
    return open_zoo(folder)


def drawn(spec, cohort, moment, names):
    """Variables, with an optimizer's state, and metrics."""
    draws = np.random.default_rng([cohort.number, moment.epoch, moment.step or 0])
    models = len(cohort.members)
    variables = {
        name: draw_leaves(draws, models, tree) for name, tree in variable_shapes(spec.layers, spec.dataset).items()
    }
    if spec.snapshots.keep_optimizer:
        variables["optimizer"] = {"count": np.full(models, 7, np.int32), "mu": variables["params"]}
    metrics = {name: draws.random(models, np.float32) for name in names}
    return variables, metrics | {"finite": np.ones(models, bool)}


def drawn_outputs(spec, cohort, epoch):
    draws = np.random.default_rng([cohort.number, epoch])
    shapes = {split: (getattr(spec.dataset, split), spec.classes) for split in spec.outputs.splits}
    models = len(cohort.members)
    return {"logits": {split: draws.random((models, *shape)).astype(np.float16) for split, shape in shapes.items()}}
