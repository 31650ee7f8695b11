"""The form of a zoo's programs: which hyperparameters of words their models have side by side.

Models of one activation and one optimizer share a program that is built for those: the form (). Where few models are of
each kind, such programs compile one after the other and leave their lanes empty. A program of another form takes the
activation, the optimizer or both for each model.
"""

from collections.abc import Sequence

from jaxzoo.errors import InputError
from jaxzoo.spec.zoo_spec import ZooSpec

Form = tuple[str, ...]

SIDE_BY_SIDE: Form = ("activation", "optimizer")
NO_FORM = "none"  # the word for (): a program for each kind
FORMS: dict[str, Form] = {
    NO_FORM: (),
    "activation": ("activation",),
    "optimizer": ("optimizer",),
    "activation+optimizer": SIDE_BY_SIDE,
}


def form_of_word(word: str | Sequence[str]) -> Form:
    """The form of a word of `FORMS`, or of the names of hyperparameters. Raises InputError for others."""
    name = word if isinstance(word, str) else "+".join(sorted(word)) or NO_FORM
    if name not in FORMS:
        raise InputError(f"form is {word!r}, expected one of: {', '.join(FORMS)}")
    return FORMS[name]


def form_word(form: Form) -> str:
    """A form as a person reads and types it."""
    return "+".join(form) or NO_FORM


def settled_form(spec: ZooSpec, form: Form) -> Form:
    """The form without the hyperparameters of which all members have the same."""
    return tuple(name for name in form if len(spec.values(name)) > 1)
