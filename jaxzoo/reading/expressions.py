"""Conditions on the columns of a table, written as text. They are parsed and checked first, and never run as code."""

import ast
from collections.abc import Iterator

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, nearest

EXAMPLE = "activation == 'tanh' and test_accuracy > 0.5"
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
# a list of what is allowed, not of what is forbidden: no calls, attributes or subscripts, so text cannot become code
ALLOWED = (
    *(ast.Expression, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple),
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, *ARITHMETIC),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
)
LONGEST = 1000  # characters; longer text could nest deeply enough to exhaust the parser


def rows_where(table: pd.DataFrame, condition: str) -> np.ndarray:
    """Whether the condition holds for each row of the table, as a boolean array.

    A condition compares columns, numbers and quoted words by == != < <= > >= and `in [...]`. Comparisons are joined by
    and, or, not; numbers may be computed by + - * /. Raises InputError for anything else, for an unknown column, and
    for words where numbers belong.
    """
    tree = _parse(condition)
    for node in ast.walk(tree):
        _check(node, table, condition)
    try:
        result = table.eval(condition, engine="python", parser="pandas")
    except Exception as error:  # pandas has many classes of errors for columns and values that do not go together
        raise InputError(f"where is {condition!r}: cannot be compared ({error})") from error
    if not isinstance(result, pd.Series) or result.dtype != bool:
        raise InputError(f"where is {condition!r}, expected a condition such as {EXAMPLE!r}")
    return result.to_numpy()


def _parse(condition: str) -> ast.Expression:
    try:
        if len(condition) > LONGEST:
            raise ValueError(f"it is longer than {LONGEST} characters")
        return ast.parse(condition.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        wanted = f"expected a condition such as {EXAMPLE!r}"
        raise InputError(f"where is {condition!r}: cannot be read ({error}), {wanted}") from error


def _check(node: ast.AST, table: pd.DataFrame, condition: str) -> None:
    if not isinstance(node, ALLOWED):
        got = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
        raise InputError(
            f"where is {condition!r}: {got!r} is not allowed, expected columns, numbers and quoted words "
            "with == != < <= > >= in, and or not, + - * /"
        )
    if isinstance(node, ast.Name) and node.id not in table.columns:
        raise InputError(f"where is {condition!r}: no column {node.id!r}; nearest: {nearest(node.id, table.columns)}")
    if isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float):
        raise InputError(f"where is {condition!r}: {node.value!r} is not allowed, expected numbers and quoted words")
    # pandas would repeat a quoted word: 'a' * 10000000000 could fill the memory
    if isinstance(node, ast.BinOp) and any(_is_word(part, table) for part in _leaves(node)):
        raise InputError(f"where is {condition!r}: {ast.unparse(node)!r} computes with words, expected numbers")


def _leaves(node: ast.BinOp) -> Iterator[ast.AST]:
    return (part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Constant))


def _is_word(node: ast.AST, table: pd.DataFrame) -> bool:
    if isinstance(node, ast.Name):
        return node.id in table.columns and not pd.api.types.is_numeric_dtype(table[node.id])
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
