"""Shows a zoo as a page and as pictures: `jaxzoo report ZOO`."""

import os
import tempfile
from pathlib import Path


def _import_bokeh() -> None:
    """Imports Bokeh, which looks for its settings in the home folder and ends where the user has none."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.gettempdir()
        try:
            import bokeh  # noqa: F401
        finally:
            del os.environ["HOME"]


_import_bokeh()
