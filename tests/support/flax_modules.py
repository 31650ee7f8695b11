"""Flax Linen modules as a user may write them, and zoos of them on scikit-learn's digits."""

from collections.abc import Callable

import flax.linen as nn
import jax

from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.grid import Grid
from jaxzoo.spec.seeds import SeedRange
from jaxzoo.spec.snapshots import Snapshots
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.modules import with_network


class Plain(nn.Module):
    """It is the same in training."""

    width: int = 12
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, images):
        values = images.reshape(images.shape[0], -1)
        return nn.Dense(10)(self.activation(nn.Dense(self.width)(values)))


class Dropping(nn.Module):
    rate: float = 0.3

    @nn.compact
    def __call__(self, images, train):
        values = nn.relu(nn.Conv(3, (3, 3), strides=3)(images))
        values = nn.Dropout(self.rate, deterministic=not train)(values.reshape(images.shape[0], -1))
        return nn.Dense(10)(values)


class Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, values, deterministic):
        inner = nn.Dense(values.shape[-1])(nn.gelu(nn.Dense(self.width)(values)))
        return nn.LayerNorm()(values + nn.Dropout(0.1)(inner, deterministic=deterministic))


class Nested(nn.Module):
    """Submodules within submodules, and the other keyword."""

    widths: tuple[int, ...] = (8, 6)

    def setup(self):
        self.stem = nn.Dense(10)
        self.blocks = [Block(width) for width in self.widths]

    def __call__(self, images, *, deterministic=True):
        values = self.stem(images.reshape(images.shape[0], -1))
        for block in self.blocks:
            values = block(values, deterministic)
        return values


class Normed(nn.Module):
    @nn.compact
    def __call__(self, images, train: bool = False):
        values = nn.Conv(3, (3, 3), strides=3, use_bias=False)(images)
        values = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(values))
        return nn.Dense(10)(values.reshape(images.shape[0], -1))


# what a spec of more than one cohort has, with all that may be kept
LARGER = {
    "seeds": 20,
    "cohort_size": 10,
    "epochs": 3,
    "twins": TwinSpec(method="magnitude", epochs=3),
    "snapshots": Snapshots(every=15, keep_optimizer=True),
    "outputs": ("test",),
}
MODULES = {"plain": Plain(), "dropping": Dropping(), "nested": Nested(), "normed": Normed()}


def module_spec(module=None, *, train=1200, validation=237, test=360, seeds=3, batch_size=50, **changes) -> ZooSpec:
    """A zoo without architecture, or that of a module; all of the digits by default, as `generate` loads them."""
    values = {"optimizer": ("adam",), "learning_rate": (3e-3,), **changes.pop("grid", {})}
    given = {
        "name": "mine",
        "dataset": DatasetSpec(
            name="digits", classes=10, train=train, validation=validation, test=test, size=28, channels=1
        ),
        "grid": Grid(**values),
        "seeds": SeedRange(first=1, last=seeds),
        "batch_size": batch_size,
        "epochs": 2,
        "twins": TwinSpec(method="magnitude", epochs=2),
    }
    return with_network(ZooSpec(**given | changes), module)
