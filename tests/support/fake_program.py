"""A program that computes next to nothing and needs no compiling, for tests of what is stored and when.

The real `run_cohort` runs it, with the real store: only training is replaced, by a line of arithmetic that depends on
the epoch and on everything that a restart must bring back.
"""

import jax
import numpy as np
from populations import MADE, record_of, small_spec

from jaxzoo.devices import model_mesh
from jaxzoo.models.tally import Tally
from jaxzoo.models.variables import abstract_variables
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.training.cohort import Beginning, Run, run_cohort
from jaxzoo.training.order import Order
from jaxzoo.training.programs import Program, state_shapes
from jaxzoo.training.steps import DeviceImages

SPEC = small_spec(seeds=2, epochs=2, optimizer=("sgd",))


def fake_program(key) -> Program:
    """Epochs of one step: parameters grow by the epoch and by the optimizer's state, which counts."""

    def train(state, tally, hyperparameters, images, order, epoch, first, last):
        step = float(np.ravel(jax.tree.leaves(state.optimizer)[0])[0]) + int(epoch)
        params = jax.tree.map(lambda leaf: np.asarray(leaf) * np.float32(1.25) + np.float32(step), state.params)
        optimizer = jax.tree.map(lambda leaf: np.asarray(leaf) + np.asarray(leaf).dtype.type(1), state.optimizer)
        return state._replace(params=params, optimizer=optimizer), tally

    def evaluate(params, batch_stats, codes, images, first, last):
        total = sum(np.asarray(leaf).reshape(-1, 2).sum(0) for leaf in jax.tree.leaves(params))
        return Tally(total.astype(np.float32), np.full(2, last - first, np.float32))

    return Program(
        key=key,
        mesh=model_mesh(),
        lanes=2,
        method=None,
        see=None,
        shuffle=lambda seed, seen, epoch: Order(None),
        begin_optimizer=lambda params: jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype), state_shapes(key, None, 2).optimizer
        ),
        train=train,
        evaluate=evaluate,
        mask=None,
        sparse=None,
    )


def run_fake(
    folder, spec=SPEC, *, kept=None, made=MADE, repair=False, on_event=lambda event: None, should_stop=lambda: False
) -> None:
    """Trains the only cohort of the spec into a zoo's folder, or goes on with it."""
    (cohort,) = plan_zoo(spec).cohorts
    shapes = abstract_variables(cohort.key.layers, cohort.key.dataset)
    beginning = Beginning(lambda: jax.tree.map(lambda leaf: np.ones((2, *leaf.shape), np.float32), shapes))
    images = DeviceImages(*(np.zeros(1),) * 4)
    run = Run(1, lambda dataset: images, made, repair, on_event, should_stop)
    run_cohort(folder, record_of(spec, kept=kept), fake_program(cohort.key), cohort, beginning, run)
