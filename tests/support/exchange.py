"""What tests of several formats share: zoos to export, and the comparison of a zoo with what came back."""

import contextlib

import numpy as np
import pandas as pd
import pytest
from populations import store_zoo

import jaxzoo
from jaxzoo.errors import InputError

OWN = ["model", "cohort", "row"]  # columns that an import numbers anew


def assert_same_zoo(first, second, models=None, epochs=None):
    """The second zoo holds some models of the first, or all: weights and statistics bit for bit, metrics, members.

    `epochs` are those whose weights it has, by default all.
    """
    models = list(range(len(first.members)) if models is None else models)
    assert second.epochs == (first.epochs if epochs is None else epochs)
    assert second.layout == first.layout
    for epoch in second.epochs:
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


def there_and_back(zoo, folder, format, **options):
    """The zoo that comes back of the export; both lie in `folder`."""
    jaxzoo.export_zoo(zoo, folder / "out", format, **options)
    return jaxzoo.import_zoo(folder / "out", folder / "back", format)


@contextlib.contextmanager
def one_line(match):
    """Expects an InputError of one line that says so."""
    with pytest.raises(InputError, match=match) as caught:
        yield caught
    assert len(str(caught.value).splitlines()) == 1
