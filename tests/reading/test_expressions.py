"""Conditions on tables: what they pick, and that text never becomes code."""

import pandas as pd
import pytest

from jaxzoo.errors import InputError
from jaxzoo.reading.expressions import rows_where

TABLE = pd.DataFrame(
    {
        "activation": ["tanh", "relu", "tanh", "gelu"],
        "test_accuracy": [0.2, 0.9, 0.7, float("nan")],
        "epoch": [1, 2, 3, 4],
        "finite": [True, True, True, False],
    }
)
PICKED = {
    "activation == 'tanh' and test_accuracy > 0.5": [2],
    "activation in ['relu', 'gelu']": [1, 3],
    "activation not in ('relu', 'gelu')": [0, 2],
    "not activation == 'tanh'": [1, 3],
    "finite": [0, 1, 2],
    "not finite or epoch <= 1": [0, 3],
    "0.1 < test_accuracy < 0.8": [0, 2],
    "test_accuracy * 10 - epoch >= 1 and epoch != 3": [0, 1],
    "test_accuracy == test_accuracy": [0, 1, 2],
    "  epoch / 2 > -1.5 + 2.6  ": [2, 3],
    'activation == "lottery"': [],
}


@pytest.mark.parametrize(("condition", "rows"), PICKED.items())
def test_a_condition_picks_rows(condition, rows):
    assert list(rows_where(TABLE, condition).nonzero()[0]) == rows


REFUSED = {
    "accuracy > 0.5": "no column 'accuracy'; nearest: test_accuracy",
    "__import__('os').system('touch hacked')": "is not allowed",
    "epoch.__class__": "is not allowed",
    "epoch[0] == 1": "is not allowed",
    "(lambda: 1)() == 1": "is not allowed",
    "[e for e in (1, 2)] == 1": "is not allowed",
    "f'{epoch}' == '1'": "is not allowed",
    "epoch ** 9 ** 9 ** 9 > 1": "is not allowed",
    "epoch << 99999999 > 1": "is not allowed",
    "epoch @ epoch == 1": "is not allowed",
    "(x := 1) == 1": "is not allowed",
    "@epoch == 1": "cannot be read",
    "epoch > 1; import os": "cannot be read",
    "epoch = 1": "cannot be read",
    "epoch >": "cannot be read",
    "": "cannot be read",
    "\0": "cannot be read",
    "(" * 5000: "longer than 1000 characters",
    "(" * 900 + ")" * 900: "cannot be read",
    "epoch": "expected a condition",
    "1 == 1": "expected a condition",
    "activation": "expected a condition",
    "activation > 0.5": "cannot be compared",
    "activation + 1 == 2": "computes with words",
    "'a' * 999999999 == activation": "computes with words",
    "finite == b'x'": "is not allowed",
}


@pytest.mark.parametrize(("condition", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_anything_else_is_one_clear_line(condition, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        rows_where(TABLE, condition)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
