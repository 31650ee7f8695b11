"""Runs the notebooks from top to bottom in a small setting, and checks the outputs that the repository keeps."""

import os
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

import jaxzoo

FOLDER = Path(__file__).parents[1] / "notebooks"
SMALL = {"JAXZOO_ZOO_NAME": "digits", "JAXZOO_TWINS": "magnitude", "JAXZOO_OUT": "zoos/colab", "JAX_PLATFORMS": "cpu"}


def run_notebook(name: str, place: str, settings: dict[str, str]) -> str:
    """What its cells printed. Raises CellExecutionError where one fails."""
    start = time.monotonic()
    notebook = nbformat.read(FOLDER / name, as_version=4)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("JAXZOO_")}
    environment = inherited | {"JAX_COMPILATION_CACHE_DIR": f"{place}/compiled"} | SMALL | settings
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": place}})
    client.execute(env=environment)
    print(f"{name} {settings}: {time.monotonic() - start:.0f} s", flush=True)
    return "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that are run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def check_outputs(path: Path) -> None:
    """Every cell was run, in order and without an error, and at least one picture is there."""
    cells = code_cells(nbformat.read(path, as_version=4))
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), f"{path}: was not run in order"
    assert all(output.output_type != "error" for output in outputs), f"{path}: holds an error"
    assert any("image/png" in output.get("data", {}) for output in outputs), f"{path}: holds no picture"


for path in sorted(FOLDER.glob("*.ipynb")):
    check_outputs(path)
with tempfile.TemporaryDirectory() as place:
    run_notebook("read_a_zoo.ipynb", place, {"JAXZOO_MODELS": "24", "JAXZOO_EPOCHS": "3"})
    printed = run_notebook("colab_tpu.ipynb", place, {"JAXZOO_MODELS": "8", "JAXZOO_EPOCHS": "2"})
    assert "8 models, as set" in printed, printed
    out = Path(place, "zoos/colab")
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}
    printed = run_notebook("colab_tpu.ipynb", place, {})  # what was chosen is remembered with the zoo
    assert "goes on with" in printed, printed
    assert "all was there" in printed, printed
    assert before == {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}, "was made again"
    assert len(jaxzoo.open_zoo(out).members) == 8
