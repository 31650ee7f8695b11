"""The examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import jax
import pytest

import jaxzoo

PACKAGE = Path(jaxzoo.__file__).parent
WITH_EXAMPLES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_a_module(name, digits_zoo, monkeypatch):
    monkeypatch.chdir(digits_zoo.parents[1])  # where "zoos/digits" is the zoo
    names = {"zoo": jaxzoo.open_zoo(digits_zoo), "jax": jax}
    failed, tried = doctest.testmod(importlib.import_module(name), extraglobs=names)
    assert tried > 0
    assert failed == 0
