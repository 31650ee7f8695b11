"""The laws of the house that a test can hold: imports go one way, and importing jaxzoo starts nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import jaxzoo

PACKAGE = Path(jaxzoo.__file__).parent

# in the order of the data: a room imports rooms above it, its own, and none below
ROOMS = [
    "version", "errors", "arguments", "interrupts", "spec", "config", "plan", "keys", "noise", "datasets",
    "architectures", "convolution", "networks", "lanes", "engines", "schedules", "optimizers", "devices", "sparsify",
    "loops", "program", "memory", "train", "tune", "layout", "expressions", "states", "steps", "store", "zoo",
    "features", "alignment", "predict", "diversity", "probe", "listing", "card", "cohorts", "space", "checks",
    "compose", "progress", "generate", "twins", "report", "bench",
]  # fmt: skip
READERS = ("layout", "expressions", "states", "features", "alignment", "predict", "diversity", "probe")
FORBIDDEN = {
    "train": {"store", "zoo", "checks", "compose"},
    "tune": {"store", "zoo", "checks", "compose"},
    "program": {"store", "zoo", "checks", "compose"},
    "store": {"train", "program", "lanes", "engines", "optimizers", "datasets"},
    "cohorts": {"checks", "compose", "datasets"},
    "zoo": {"train", "program", "lanes", "engines", "optimizers", "datasets"},
    **{room: {"train", "program", "optimizers", "datasets", "cohorts", "checks", "compose"} for room in READERS},
}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "jaxzoo":
                yield from (f"jaxzoo.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_imports_follow_the_way_of_the_data():
    seen = set()
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path)
        if room == "__init__":
            continue
        seen.add(room)
        for name in imports_of(path):
            if not name.startswith("jaxzoo."):
                continue
            other = name.split(".")[1]
            assert ROOMS.index(other) <= ROOMS.index(room), f"{path.name} imports {name}"
            assert other not in FORBIDDEN.get(room, ()), f"{path.name} imports {name}"
    assert seen == set(ROOMS)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_jaxzoo_takes_no_device_and_no_heavy_library():
    loaded = run(
        "import sys, jaxzoo; from jax._src import xla_bridge; print(len(xla_bridge._backends));"
        "print(*[name for name in ('tensorflow', 'torch', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    assert loaded.split() == ["0"]


def test_there_is_no_drawer_for_everything():
    assert not list(PACKAGE.rglob("util*.py")) + list(PACKAGE.rglob("helper*.py"))
