"""The schedules: their whole curves against PyTorch's and optax's."""

import jax
import numpy as np
import optax
import pytest

from jaxzoo.spec.schedule import Schedule
from jaxzoo.training.schedules import moment_at, one_cycle

torch = pytest.importorskip("torch")

PEAK = 0.05


def curve_of_torch(steps, optimizer):
    """(learning rate, momentum) of every step, as an optimizer sees them."""
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK, total_steps=steps)
    seen = []
    for step in range(steps):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["momentum"] if "momentum" in group else group["betas"][0]))
        optimizer.step()
        if step + 1 < steps:
            scheduler.step()
    return np.array(seen)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 101, 7850])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_the_whole_curve_is_pytorchs(steps, optimizer):
    weight = torch.nn.Parameter(torch.zeros(1))
    momentum = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    wanted = curve_of_torch(steps, optimizer([weight], lr=0.1, **momentum))
    rate, momentum = jax.jit(jax.vmap(lambda step: one_cycle(step, steps)))(np.arange(steps))
    # float32: the place of the peak, (0.3 steps - 1), is rounded, which shows most a few steps from an end
    np.testing.assert_allclose(PEAK * np.asarray(rate), wanted[:, 0], rtol=2e-5)
    np.testing.assert_allclose(momentum, wanted[:, 1], rtol=2e-6)


def test_it_begins_peaks_and_ends_where_it_should():
    rate, momentum = jax.vmap(lambda step: one_cycle(step, 1000))(np.arange(1000))
    np.testing.assert_allclose(rate[np.array([0, 299, 999])], [1 / 25, 1, 1 / 250_000], rtol=1e-5)
    np.testing.assert_allclose(momentum[np.array([0, 299, 999])], [0.95, 0.85, 0.95], rtol=1e-6)
    assert int(np.argmax(rate)) == 299


def rates_of(schedule, per_epoch, epochs):
    """The rate of every step, as a share of the highest, and whether the momentum stays."""
    steps = per_epoch * epochs if schedule.depends_on_length else None
    moment = jax.jit(jax.vmap(lambda step: moment_at(schedule, step, per_epoch, steps)))(np.arange(per_epoch * epochs))
    assert moment.momentum is None
    return np.asarray(moment.rate)


def rates_of_torch(build, per_epoch, epochs, each_epoch):
    """The rate of every step of an optimizer that a scheduler moves at the end of each step, or of each epoch."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = build(optimizer)
    seen = []
    for step in range(per_epoch * epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if not each_epoch or (step + 1) % per_epoch == 0:
            scheduler.step()
    return np.array(seen) / PEAK


# warm-up and end, steps of an epoch, epochs, and the steps of the warm-up
COSINES = [
    *((0.0, 0.0, 10, 10, 0), (0.0, 0.2, 1, 3, 0), (1.0, 0.0, 157, 50, 157), (2.5, 0.01, 7, 5, 18)),
    *((0.25, 0.0, 10, 4, 2), (4.99, 0.0, 10, 5, 49), (0.01, 0.0, 10, 2, 0), (0.0, 1.0, 5, 2, 0)),
]


@pytest.mark.parametrize(("warmup", "end", "per_epoch", "epochs", "line"), COSINES)
def test_cosine_is_pytorchs_line_and_annealing(warmup, end, per_epoch, epochs, line):
    schedules = torch.optim.lr_scheduler

    def build(optimizer):
        annealing = schedules.CosineAnnealingLR(optimizer, T_max=per_epoch * epochs - line, eta_min=PEAK * end)
        if line == 0:
            return annealing
        rising = schedules.LinearLR(optimizer, start_factor=1 / (line + 1), total_iters=line)
        return schedules.SequentialLR(optimizer, [rising, annealing], milestones=[line])

    got = rates_of(Schedule(kind="cosine", warmup=warmup, end=end), per_epoch, epochs)
    wanted = rates_of_torch(build, per_epoch, epochs, each_epoch=False)
    # float32: the sine of an angle that is rounded to 6e-8, squared
    np.testing.assert_allclose(got, wanted, rtol=2e-6)
    total = per_epoch * epochs
    curve = optax.join_schedules(
        [
            optax.linear_schedule(1 / (line + 1), 1.0, line),
            optax.cosine_decay_schedule(1.0, total - line, alpha=end),
        ],
        [line],
    )
    # float32: 1 + cos of nearly pi loses all but 1e-7
    np.testing.assert_allclose(got, np.array([curve(step) for step in range(total)]), rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
@pytest.mark.parametrize("factor", [0.1, 0.5, 0.97])
def test_step_decay_is_pytorchs_and_moves_between_epochs_only(every, factor):
    per_epoch, epochs = 4, 12
    got = rates_of(Schedule(kind="step", every=every, factor=factor), per_epoch, epochs)
    wanted = rates_of_torch(
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, every, factor), per_epoch, epochs, each_epoch=True
    )
    np.testing.assert_allclose(got, wanted, rtol=2e-6)  # float32: a power of up to 11
    assert (got.reshape(epochs, per_epoch) == got[::per_epoch, None]).all()
    curve = optax.exponential_decay(1.0, every * per_epoch, factor, staircase=True)
    np.testing.assert_allclose(got, np.array([curve(step) for step in range(len(got))]), rtol=2e-6)


def test_cohorts_with_other_batches_move_at_the_same_epochs():
    """Their epochs have other numbers of steps."""
    decay, cosine = Schedule(kind="step", every=2), Schedule(kind="cosine", warmup=2)
    for per_epoch in (3, 10):
        rate = rates_of(decay, per_epoch, 6)
        np.testing.assert_allclose(rate[:: 2 * per_epoch], [1, 0.1, 0.01], rtol=1e-6)
        rate = rates_of(cosine, per_epoch, 6)
        assert int(np.argmax(rate)) == 2 * per_epoch
        np.testing.assert_allclose(rate[4 * per_epoch], 0.5, rtol=1e-6)  # half-way from the end of epoch 2


def test_what_depends_on_the_number_of_epochs():
    kinds = {kind: Schedule(kind=kind).depends_on_length for kind in ("constant", "one-cycle", "cosine")}
    assert kinds == {"constant": False, "one-cycle": True, "cosine": True}
    decay = Schedule(kind="step", every=2)
    assert not decay.depends_on_length
    np.testing.assert_array_equal(rates_of(decay, 5, 3), rates_of(decay, 5, 9)[:15])
