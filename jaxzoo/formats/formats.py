"""The formats by name."""

from collections.abc import Mapping

from jaxzoo.formats import numpy_files
from jaxzoo.formats.format import Format

FORMATS: Mapping[str, Format] = {
    "numpy": numpy_files.FORMAT,
}
