"""The card of a zoo: the README.md in its folder."""

from collections.abc import Sequence
from typing import Any

from jaxzoo.spec.plan import Plan
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.licence import card_line
from jaxzoo.storage.record import NO_LICENCE

MOST_LISTED = 10  # values


def zoo_card(
    plan: Plan,
    parameters: Sequence[int],
    kept: Sequence[int] | None = None,
    twin: TwinSpec | None = None,
    licence: str = NO_LICENCE,
) -> str:
    """What the zoo is, in words and one table, and how to open it; `parameters` has those of each architecture.

    `kept` has the epochs whose weights stay besides the last two, None for all. With `twin` the card is that of sparse
    twins, and says how they were made.
    """
    spec, dataset = plan.spec, plan.spec.dataset
    names = plan.members[0].hyperparameters
    values = {name: [*dict.fromkeys(member.hyperparameters[name] for member in plan.members)] for name in names}
    grid = "\n".join(f"| {name} | {_listed(held)} |" for name, held in values.items())
    made, epochs = "", spec.epochs
    if twin is not None:
        epochs = twin.length
        made = f"\n\nThese are their sparse twins by {epochs} epochs of {_words(twin)}; epoch 0 is the parents' last."
    return f"""# {spec.name}

A model zoo made by jaxzoo: {len(plan.members)} models of {spec.architecture_label} \
({_parameters(parameters)} parameters each) on {_datasets(spec)}, \
{_epochs_kept(kept, epochs)}.{made}

| hyperparameter | values |
|---|---|
{grid}
| seeds | {_seeds(plan)} |{_common_batch(plan)}

{_images(spec)}; \
{dataset.size} x {dataset.size} pixels, {dataset.channels} channel(s).

```python
import jaxzoo

zoo = jaxzoo.open_zoo("{spec.name}")
zoo.members  # a row per model
zoo.metrics  # a row per (model, epoch)
{_weights(spec, epochs)}
```

zoo.json holds the spec and what made it; models that diverged are kept, with `finite` false in the metrics.

{card_line(licence)}
"""


def _epochs_kept(kept: Sequence[int] | None, epochs: int) -> str:
    """Which weights a model has on disk."""
    if kept is None:
        return f"with the weights of every epoch from 0 to {epochs}"
    last = sorted({*kept, *range(max(0, epochs - 1), epochs + 1)})
    return f"with the weights of the epochs {', '.join(map(str, last))} and the metrics of every epoch"


def _common_batch(plan: Plan) -> str:
    """The row of the batch size, unless members say it."""
    return "" if "batch_size" in plan.spec.declared else f"\n| batch size | {plan.spec.batch_size} |"


def _parameters(counts: Sequence[int]) -> str:
    return f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"


def _datasets(spec: ZooSpec) -> str:
    return ", ".join(each.name for each in spec.every_dataset)


def _images(spec: ZooSpec) -> str:
    counts = (
        f"{each.train} for training, {each.validation} for validation, {each.test} for testing"
        for each in spec.every_dataset
    )
    return f"Images: {'; '.join(counts)}"


def _weights(spec: ZooSpec, epoch: int) -> str:
    if len(spec.architecture_names) == 1:
        return f"zoo.weights(epoch={epoch})  # (models, D) float32"
    return f"zoo.groups  # a zoo of each architecture\nzoo.weights({epoch}, models=[0])  # (1, D) float32"


def _listed(held: Sequence[Any]) -> str:
    """The values one by one; of many numbers, as a table of draws has, from which to which they go."""
    if len(held) <= MOST_LISTED or not all(isinstance(value, int | float) for value in held):
        return ", ".join(map(str, held))
    return f"{len(held):,} from {min(held)} to {max(held)}"


def _seeds(plan: Plan) -> str:
    """The seeds that the members have, which are fewer than the spec's where models are."""
    return _listed(sorted({member.seed for member in plan.members}))


def _words(twin: TwinSpec) -> str:
    if twin.method != "magnitude":
        return twin.method.replace("-", " ")
    scope = "over all weights of a model" if twin.scope == "global" else "in each layer"
    return f"magnitude pruning to a sparsity of {twin.sparsity}, {scope}"
