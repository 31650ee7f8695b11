"""Parameters that only some kinds of a thing have: those of optimizers and of schedules.

A spec of such a thing has the word of its kind as its first field, and every parameter of any kind as a further field,
None where it is not given.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxzoo.errors import InputError, require, shown
from jaxzoo.spec.ranges import Range


class Parameter(NamedTuple):
    """A parameter of one kind: its default, None where there is none, and its range, None for true or false."""

    default: float | bool | None
    allowed: Range | None


def settle_parameters(spec: Any, kind: str, known: Mapping[str, Parameter]) -> None:
    """Checks the parameters of a frozen spec against those of its kind. Raises InputError.

    One that is given at its default becomes None, so that specs that mean the same are equal.
    """
    for name, value in given_parameters(spec).items():
        if name not in known:
            has = f"has {', '.join(known)}" if known else "has no parameters"
            raise InputError(f"{name} is {shown(value)}, expected none: {kind} {has}", (name,))
        default, allowed = known[name]
        if allowed is not None:
            require(allowed.holds(value), name, value, allowed.text(name))
        if value == default:
            object.__setattr__(spec, name, None)


def given_parameters(spec: Any) -> dict[str, Any]:
    """The parameters that are not at their default, by name."""
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)[1:]}
    return {name: value for name, value in values.items() if value is not None}


def parameter_label(spec: Any, kind: str) -> str:
    """A text to read: the kind, and behind it what is not at its default, such as adam(beta1=0.5)."""
    given = ", ".join(f"{name}={value}" for name, value in given_parameters(spec).items())
    return f"{kind}({given})" if given else kind
