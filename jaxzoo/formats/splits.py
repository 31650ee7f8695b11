"""Which of the models that are exported are for training, for validation and for testing."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.formats.chosen import Chosen
from jaxzoo.reading.selection import SHARES, Parts, split_models
from jaxzoo.storage.files import reason, write_whole

SPLIT_SEED = 42


def write_splits(path: Path, chosen: Chosen) -> None:
    """Writes the numbers of the models in each part as JSON. Raises InputError where the file cannot be written."""
    try:
        write_whole(path, (json.dumps(shared_out(chosen)) + "\n").encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}), expected a folder that can") from error


def shared_out(chosen: Chosen) -> dict[str, Any]:
    """The parts into which the zoo's own split puts the models: the same ones whatever was left out."""
    members = chosen.zoo.members
    seeds = dict(zip(members["model"].tolist(), members["seed"].tolist(), strict=True))
    by = "seed" if len({*seeds.values()}) >= len(SHARES) else "model"
    try:
        parts = split_models(seeds, *SHARES, seed=SPLIT_SEED, by=by)
    except InputError:  # a zoo of too few models to share out
        parts = Parts(np.array([*seeds]), np.arange(0), np.arange(0))
    kept = {*chosen.models}
    shared = {name: [model for model in part.tolist() if model in kept] for name, part in parts._asdict().items()}
    return {"by": by, "seed": SPLIT_SEED, "shares": SHARES, **shared}
