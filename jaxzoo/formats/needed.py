"""Libraries that only some formats need, imported where a format is used."""

import importlib
from typing import Any

from jaxzoo.errors import InputError

EXTRA = "formats"  # of the package, which installs them


def needed(module: str, extra: str) -> Any:
    """The module of that name. Raises InputError, which says how to install it, where it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        wanted = f"it to be installed: pip install 'jaxzoo[{extra}]'"
        raise InputError(f"{module} cannot be imported ({error}), expected {wanted}") from error
