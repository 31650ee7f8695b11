"""The counterfactual pairs of a zoo: which members differ in exactly one thing."""

from collections.abc import Sequence

import pandas as pd

from jaxzoo.errors import InputError
from jaxzoo.spec.plan import Member
from jaxzoo.storage.store_paths import AnyPath

COLUMNS = ("base", "partner", "change", "change_epoch")


def pairs_of(path: AnyPath, members: Sequence[Member], change: str | None) -> pd.DataFrame:
    """A row per pair that differs in `change`, or in anything. Raises InputError where there is none."""
    partners = [(member.model, member.pair) for member in members if member.pair is not None and member.pair.change]
    found = [
        (pair.base, model, pair.change, pair.change_epoch)
        for model, pair in partners
        if change is None or change == pair.change
    ]
    if not found:
        known = ", ".join(sorted({pair.change for _, pair in partners}))
        raise InputError(f"{path}: no pair differs in {change}, expected one of: {known or 'none'}")
    return pd.DataFrame(found, columns=list(COLUMNS))
