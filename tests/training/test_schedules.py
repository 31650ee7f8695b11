"""The one-cycle policy: its whole curve against PyTorch's."""

import jax
import numpy as np
import pytest

from jaxzoo.training.schedules import one_cycle

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
