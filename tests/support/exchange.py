"""What tests of several formats share: zoos to export, and the comparison of a zoo with what came back."""

import numpy as np
import pandas as pd
from populations import store_zoo

OWN = ["model", "cohort", "row"]  # columns that an import numbers anew


def assert_same_zoo(first, second, models=None):
    """The second zoo holds some models of the first, or all: weights and statistics bit for bit, metrics, members."""
    models = list(range(len(first.members)) if models is None else models)
    assert second.epochs == first.epochs
    for epoch in first.epochs:
        for name, tree in first.variables(epoch, models).items():
            for layer, kinds in tree.items():
                for kind, leaf in kinds.items():
                    np.testing.assert_array_equal(second.variables(epoch)[name][layer][kind], leaf)
    metrics = first.metrics[first.metrics["model"].isin(models)].reset_index(drop=True)
    pd.testing.assert_frame_equal(metrics.drop(columns="model"), second.metrics.drop(columns="model"))
    members = first.members.drop(columns=OWN).loc[models].reset_index(drop=True)
    pd.testing.assert_frame_equal(members, second.members[members.columns], check_dtype=False)


def store_with_a_diverged_model(folder, spec):
    """A drawn zoo whose model 1 is not finite at its last epoch."""
    return store_zoo(folder, spec, finite=lambda model, epoch: (model, epoch) != (1, spec.epochs))
