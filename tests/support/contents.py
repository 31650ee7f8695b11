"""Contents of reports without a zoo: an ordinary one, and one whose every string tries to be HTML, script or TeX."""

import numpy as np
import pandas as pd

from jaxzoo.report.content import Content

# each sets `hurt` in the page that runs it; the last ends a script, a string and a formula
HOSTILE = (
    "<img src=x onerror=window.hurt=1>",
    "$$\\href{javascript:window.hurt=2}{x}$$",
    "</script><img src=x onerror=window.hurt=3><script>window.hurt=4</script>'\"\\$\\frac{$",
)


def make_content(words=("kaiming_uniform", "xavier_normal", "uniform"), *, count=24) -> Content:
    """A report of `count` models whose initialisation, and every other free text, is one of the words."""
    draws = np.random.default_rng(0)
    accuracy = draws.uniform(0.6, 0.8, count)
    models = pd.DataFrame({"model": np.arange(count), "seed": 1, "finite": True})
    models["initialization"] = [words[index % len(words)] for index in range(count)]
    models["learning_rate"] = [(0.001, 0.0003)[index % 2] for index in range(count)]
    for name in ("train_accuracy", "validation_accuracy", "test_accuracy", "x", "y"):
        models[name] = accuracy
    models["test_loss"], models["generalization_gap"] = 1 - accuracy, 0.0
    twins = pd.DataFrame({"model": models["model"], "test_accuracy": accuracy - 0.1, "parent_accuracy": accuracy})
    twins["sparsity"] = draws.uniform(0.5, 0.9, count)
    names = ("train_accuracy", "test_accuracy", "generalization_gap", "sparsity")
    quartiles = pd.DataFrame([(name, epoch, 0.1, 0.2, 0.3) for name in names for epoch in range(3)])
    quartiles.columns = pd.Index(["quantity", "epoch", "q25", "q50", "q75"])
    rows = [(word, kind, "R^2", 0.5, 0.1, 0.0, 96) for kind in ("weights", "statistics") for word in words]
    return Content(
        name=words[-1],
        facts={word: word for word in words},
        quartiles=quartiles,
        models=models,
        varying=("initialization", "learning_rate"),
        explained=(0.5, 0.25),
        twins={words[-1]: twins},
        trajectories={words[-1]: quartiles},
        layers=pd.DataFrame({"epoch": 0, "layer": list(words), "kind": words[-1], "mean": 0.0, "variance": 1.0}),
        diversity=pd.DataFrame({"quantity": list(words), "pairs": 6, "q25": 0.1, "q50": 0.2, "q75": 0.3}),
        probe=pd.DataFrame(rows, columns=["target", "features", "measure", "score", "spread", "chance", "states"]),
        notes=list(words),
    )


def hostile_content() -> Content:
    """A report whose strings try to be HTML, script and TeX; so does the name of a hyperparameter."""
    content = make_content(HOSTILE)
    renamed = content.models.rename(columns={"learning_rate": HOSTILE[0]})
    return content._replace(models=renamed, varying=("initialization", HOSTILE[0]))
