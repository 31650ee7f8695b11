"""The formats by name."""

from collections.abc import Mapping

from jaxzoo.formats import hub, modelzoo, modelzoo_import, numpy_files, parquet, safetensors_files, smallcnnzoo
from jaxzoo.formats.format import Format

FORMATS: Mapping[str, Format] = {
    "modelzoo": Format(
        "the tree of the original model zoos, which SANE and WeightCLIP read",
        modelzoo.write,
        modelzoo_import.read,
        parts=modelzoo.layouts,
    ),
    "smallcnnzoo": smallcnnzoo.FORMAT,
    "safetensors": safetensors_files.FORMAT,
    "numpy": numpy_files.FORMAT,
    "parquet": parquet.FORMAT,
    "hub": hub.FORMAT,
}
