"""The laws of the house that a test can hold: imports go one way, and importing jaxzoo starts nothing heavy."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jaxzoo

PACKAGE = Path(jaxzoo.__file__).parent

# the floors of the house: a folder, or a file beside the folders, imports from lower floors and from itself only
FLOORS = {
    11: {"__main__", "generate"},
    10: {"commands"},
    9: {"report", "bench", "__init__"},
    8: {"clusters"},
    7: {"training", "analysis", "formats"},
    6: {"reading"},
    5: {"storage"},
    4: {"models", "datasets"},
    3: {"spec", "devices", "settings", "compilation", "keys"},
    2: {"paths"},
    1: {"errors", "version"},
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def imports_of(path):
    """The modules of jaxzoo that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inside]
        else:
            continue
        yield from (name for name in names if name in MODULES and name != "jaxzoo")


def test_every_file_stands_on_a_floor():
    assert {room_of(path) for path in SOURCES} <= set(FLOOR_OF)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_come_from_lower_floors(path):
    room = room_of(path)
    for name in imports_of(path):
        other = room_of(MODULES[name])
        assert other == room or FLOOR_OF[other] < FLOOR_OF[room], f"{path.relative_to(PACKAGE)} imports {name}"


def test_no_two_files_import_each_other_in_a_circle():
    below = {module: set(imports_of(path)) - {module} for module, path in MODULES.items()}
    while leaves := {module for module, others in below.items() if not others}:
        below = {module: others - leaves for module, others in below.items() if module not in leaves}
    assert not below, f"in a circle, or above one: {sorted(below)}"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_jaxzoo_takes_no_device_and_no_heavy_library():
    loaded = run(
        "import sys, jaxzoo; from jax._src import xla_bridge; print(len(xla_bridge._backends));"
        "print(*[name for name in ('tensorflow', 'torch', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    assert loaded.split() == ["0"]


IMPORTS = "import jaxzoo.generate", "import jaxzoo", "from jaxzoo import generate", "import jaxzoo.training.zoo"


@pytest.mark.parametrize("first", IMPORTS)
def test_generate_is_the_library_call_in_any_order_of_imports(first):
    """Python puts an imported submodule in the place of the function of its name."""
    printed = run(
        f"{first}\nimport jaxzoo, inspect\n"
        "function = jaxzoo.generate\nimport jaxzoo.generate\nmodule = jaxzoo.generate\n"
        "from jaxzoo.training.zoo import generate\n"
        "for each in (function, module):\n"
        "    assert inspect.signature(each) == inspect.signature(generate), each\n"
        "    assert each.__doc__ == generate.__doc__\n"
        "    try: each(jaxzoo.load_spec('digits'), 'z', models=0)\n"
        "    except jaxzoo.InputError as error: print(error)\n"
    )
    assert printed == "models is 0, expected 1 or more\n" * 2


def test_everything_public_has_a_docstring():
    missing = [name for name in jaxzoo.__all__ if not (getattr(jaxzoo, name).__doc__ or "").strip()]
    assert missing == []


def test_the_oldest_versions_that_are_tried_are_those_that_are_stated():
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    tried = [line for line in (root / ".ci" / "oldest.txt").read_text().splitlines() if not line.startswith("#")]
    # a constraint may not name extras
    assert tried == [re.sub(r"\[.*?\]", "", each).replace(">=", "==") for each in stated if ">=" in each]


def test_there_is_no_drawer_for_everything():
    assert not list(PACKAGE.rglob("util*.py")) + list(PACKAGE.rglob("helper*.py"))
