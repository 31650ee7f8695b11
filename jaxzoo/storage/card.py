"""The card of a zoo: the README.md in its folder."""

import dataclasses

from jaxzoo.spec.plan import Plan
from jaxzoo.spec.zoo_spec import TwinSpec


def zoo_card(plan: Plan, parameters: int, twin: TwinSpec | None = None) -> str:
    """What the zoo is, in words and one table, and how to open it; `parameters` are those of one model.

    With `twin` the card is that of sparse twins, and says how they were made.
    """
    spec, dataset = plan.spec, plan.spec.dataset
    seeds = spec.seeds or spec.drawn_seeds
    grid = "\n".join(
        f"| {name} | {', '.join(map(str, values))} |" for name, values in dataclasses.asdict(spec.grid).items()
    )
    made, epochs = "", spec.epochs
    if twin is not None:
        epochs = twin.epochs
        made = f"\n\nThese are their sparse twins by {epochs} epochs of {_words(twin)}; epoch 0 is the parents' last."
    return f"""# {spec.name}

A model zoo made by jaxzoo: {len(plan.members)} models of {spec.architecture} \
({parameters:,} parameters each) on {dataset.name}, \
every one of their {spec.epochs} epochs.{made}

| hyperparameter | values |
|---|---|
{grid}
| seeds | {seeds} |
| batch size | {spec.batch_size} |

Images: {dataset.train} for training, {dataset.validation} for validation, {dataset.test} for testing; \
{dataset.size} x {dataset.size} pixels, {dataset.channels} channel(s).

```python
import jaxzoo

zoo = jaxzoo.open_zoo("{spec.name}")
zoo.members  # a row per model
zoo.metrics  # a row per (model, epoch)
zoo.weights(epoch={epochs})  # (models, D) float32
```

zoo.json holds the spec and what made it; models that diverged are kept, with `finite` false in the metrics.
"""


def _words(twin: TwinSpec) -> str:
    if twin.method != "magnitude":
        return twin.method.replace("-", " ")
    scope = "over all weights of a model" if twin.scope == "global" else "in each layer"
    return f"magnitude pruning to a sparsity of {twin.sparsity}, {scope}"
