"""Layers as TOML and JSON write them: a word such as "flatten", or a table such as { conv = 16, kernel = 3 }."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxzoo.errors import InputError, nearest, require, shown
from jaxzoo.spec.layers import (
    CLASSES,
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    Layers,
    MaxPool,
    MeanPool,
    Residual,
    Save,
)


class Word(NamedTuple):
    """A layer's word: what it builds, and the field that its value in a table is; "" for a word that has no value.

    `alone` says whether the word stands without a table, too.
    """

    kind: type
    field: str
    alone: bool


WORDS: Mapping[str, Word] = {
    "conv": Word(Conv, "features", alone=False),
    "dense": Word(Dense, "features", alone=False),
    "max_pool": Word(MaxPool, "window", alone=True),
    "mean_pool": Word(MeanPool, "window", alone=False),
    "global_max_pool": Word(MaxPool, "", alone=True),
    "global_mean_pool": Word(MeanPool, "", alone=True),
    "activation": Word(Activation, "function", alone=True),
    "dropout": Word(Dropout, "", alone=True),
    "flatten": Word(Flatten, "", alone=True),
    "batch_norm": Word(BatchNorm, "name", alone=True),
    "layer_norm": Word(LayerNorm, "name", alone=True),
    "residual": Word(Residual, "main", alone=False),
    "save": Word(Save, "name", alone=False),
    "add": Word(Add, "name", alone=False),
}
CHAINS = ("main", "shortcut")
DEEPEST = 20  # of residuals in residuals


def read_layers(items: Sequence[Any], depth: int = 0) -> Layers:
    """Layers from layers, words and tables. Raises InputError, which says the number of the layer, from 1."""
    require(depth <= DEEPEST, "residual", f"{depth} levels", f"at most {DEEPEST}")
    return tuple(_read(item, number, depth) for number, item in enumerate(items, 1))


def words_of(layers: Layers) -> list[Any]:
    """The layers as words and tables, which `read_layers` reads back."""
    return [_written(layer) for layer in layers]


def _read(item: Any, number: int, depth: int) -> Layer:
    if isinstance(item, Layer):
        return item
    try:
        return _of_word(item) if isinstance(item, str) else _of_table(item, depth)
    except InputError as error:
        raise InputError(f"layer {number}: {error}") from error


def _of_word(text: str) -> Layer:
    word = WORDS.get(text)
    if word is None:
        raise InputError(f"there is no layer {text!r}, expected one of: {nearest(text, WORDS)}")
    if not word.alone:
        raise InputError(f"{text!r} stands alone, expected a table such as {{ {text} = {_example(word)} }}")
    return _build(text, word, {})


def _of_table(table: Any, depth: int) -> Layer:
    require(isinstance(table, Mapping), "layer", table, "a layer: a word or a table")
    named = [key for key in table if key in WORDS]
    if len(named) != 1:
        known = nearest(str(next(iter(table), "")), WORDS)
        raise InputError(f"{shown(dict(table))} has {len(named)} layers, expected one of: {known}")
    (text,) = named
    word = WORDS[text]
    values = {key: value for key, value in table.items() if key != text}
    if not word.field:
        raise InputError(f"{text} is {shown(table[text])}, expected {text!r} alone, which has no value")
    values[word.field] = table[text]
    names = [each.name for each in dataclasses.fields(word.kind)]
    for key in values:
        if key not in names or (key == word.field and key in table):
            others = [name for name in names if name != word.field]
            raise InputError(f"{text} has no {key!r}, expected {', '.join(others) or 'nothing'} beside it")
    for key in CHAINS if word.kind is Residual else ():
        chain = values.get(key, ())
        require(isinstance(chain, list | tuple), text if key == word.field else key, chain, "a list of layers")
        values[key] = read_layers(chain, depth + 1)
    return _build(text, word, values)


def _build(text: str, word: Word, values: dict[str, Any]) -> Layer:
    if text == "global_max_pool":
        values = {"window": None}
    try:
        layer: Layer = word.kind(**values)
    except InputError as error:
        name = error.path[0] if error.path else ""
        said = str(error).removeprefix(f"{name} ")
        raise InputError(f"{text if name == word.field else f'{text}: {name}'} {said}") from error
    return layer


def _written(layer: Layer) -> Any:
    if isinstance(layer, MaxPool | MeanPool) and layer.window is None:
        return "global_max_pool" if isinstance(layer, MaxPool) else "global_mean_pool"
    text, word = next((text, word) for text, word in WORDS.items() if word.kind is type(layer))
    fields = {each.name: (getattr(layer, each.name), each.default) for each in dataclasses.fields(layer)}
    given = {name: value for name, (value, default) in fields.items() if value != default or name == word.field}
    given = {name: words_of(value) if name in CHAINS else value for name, value in given.items() if name != "index"}
    if isinstance(layer, Dense) and layer.features is None:
        given["features"] = CLASSES
    first = given.pop(word.field, "")
    return text if first == "" and not given else {text: first, **given}


def _example(word: Word) -> str:
    return {"features": "16", "window": "2", "main": "[...]"}.get(word.field, '"a"')
