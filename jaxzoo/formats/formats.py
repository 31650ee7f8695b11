"""The formats by name."""

from collections.abc import Mapping

from jaxzoo.formats import hub, modelzoo, modelzoo_import, numpy_files, safetensors_files
from jaxzoo.formats.format import Format

FORMATS: Mapping[str, Format] = {
    "hub": hub.FORMAT,
    "modelzoo": Format(
        "the tree of the original model zoos, which SANE and WeightCLIP read",
        modelzoo.write,
        modelzoo_import.read,
        parts=modelzoo.layouts,
    ),
    "numpy": numpy_files.FORMAT,
    "safetensors": safetensors_files.FORMAT,
}
