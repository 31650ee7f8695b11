"""The formats by name."""

from collections.abc import Mapping

from jaxzoo.formats import (
    hub,
    modelzoo,
    modelzoo_import,
    numpy_files,
    parquet,
    safetensors_files,
    smallcnnzoo,
    wildpark,
    wildpark_import,
)
from jaxzoo.formats.format import Format

FORMATS: Mapping[str, Format] = {
    "modelzoo": Format(
        "the tree of the original model zoos, which SANE and WeightCLIP read",
        modelzoo.write,
        modelzoo_import.read,
        parts=modelzoo.layouts,
    ),
    "smallcnnzoo": smallcnnzoo.FORMAT,
    "wildpark": Format(
        "the layout of CNN Wild Park, of architectures that differ, which Neural Graphs and ProbeGen read",
        wildpark.write,
        wildpark_import.read,
        mixtures=True,
    ),
    "safetensors": safetensors_files.FORMAT,
    "numpy": numpy_files.FORMAT,
    "parquet": parquet.FORMAT,
    "hub": hub.FORMAT,
}
