"""What README and docs/ say is true: their Python runs, their commands exist, their links lead to files."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jaxzoo
from jaxzoo.__main__ import VERBS, module_of
from jaxzoo.commands.listing import list_zoos
from jaxzoo.spec.config import published_specs
from jaxzoo.spec.grid import FACTORS
from jaxzoo.spec.optimizer import OPTIMIZER_PARAMETERS
from jaxzoo.spec.schedule import SCHEDULE_PARAMETERS
from jaxzoo.spec.tables import full_table, read_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS]
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def blocks_of(page, *languages):
    return [block for language, block in FENCED.findall(page.read_text()) if language in languages]


def prose_of(page):
    return FENCED.sub("", page.read_text())


def commands_of(page):
    """Every command line `jaxzoo VERB ...`: in code blocks a line, in sentences what stands between backticks.

    Two spaces end it: what a command does is said behind them.
    """
    shown = [line for block in blocks_of(page, "", "bash") for line in block.splitlines()]
    shown += re.findall(r"`([^`\n]+)`", prose_of(page))
    found = [re.search(r"(?:^|bin/)jaxzoo (\S+(?: \S+)*)", code) for code in shown]
    return [match[1] for match in found if match and not match[1].startswith("VERB")]


WITH_PYTHON = [page for page in PAGES if blocks_of(page, "python")]
COMMANDS = [(page.name, command) for page in PAGES for command in commands_of(page)]


def name_of(page):
    return page.name


def test_the_table_of_zoos_is_the_printed_one():
    assert list_zoos([*published_specs().values()]) in README.read_text()


def test_the_config_of_the_images_page_is_one(tmp_path):
    (block,) = blocks_of(ROOT / "docs" / "images.md", "toml")
    (tmp_path / "my_zoo.toml").write_text(block)
    (spec,) = jaxzoo.read_config(tmp_path / "my_zoo.toml")
    assert len(jaxzoo.plan_zoo(spec).members) == 128
    (tmp_path / "other.toml").write_text(re.sub(r'folder = .*instead: (tfds = "[^"]*").*', r"\1", block))
    assert jaxzoo.read_config(tmp_path / "other.toml")[0].dataset.tfds == "eurosat/rgb"


def test_the_optimizers_and_the_schedule_of_the_making_page_are_taken():
    block, _ = blocks_of(ROOT / "docs" / "making.md", "toml")
    zoo, digits = tomllib.loads(block)["zoos"]["mine"], full_table(jaxzoo.load_spec("digits"))
    spec = read_table(digits | {"grid": digits["grid"] | zoo["grid"], "schedule": zoo["schedule"]}, jaxzoo.ZooSpec)
    labels = [optimizer.label for optimizer in spec.grid.optimizer]
    assert labels == ["adam", "adamw", "adam(beta1=0.5)", "sgd(momentum=0.5, nesterov=True)"]
    assert spec.schedule == jaxzoo.Schedule(kind="cosine", warmup=0.5)


@pytest.mark.parametrize("known", [OPTIMIZER_PARAMETERS, SCHEDULE_PARAMETERS], ids=["optimizers", "schedules"])
def test_the_making_page_says_every_parameter(known):
    rows = {
        cells[1].strip(): cells[2]
        for line in (ROOT / "docs" / "making.md").read_text().splitlines()
        if len(cells := line.split("|")) > 3
    }
    for word, parameters in known.items():
        if "those of" not in rows[f"`{word}`"]:
            assert re.findall(r"`(\w+)`", rows[f"`{word}`"]) == [*parameters]


def test_the_steps_and_outputs_of_the_making_page_are_taken():
    _, block = blocks_of(ROOT / "docs" / "making.md", "toml")
    (zoo,) = tomllib.loads(block)["zoos"].values()
    spec = read_table(full_table(jaxzoo.load_spec("digits")) | zoo, jaxzoo.ZooSpec)
    assert spec.snapshots == jaxzoo.Snapshots(every=100, keep_optimizer=True)
    assert spec.outputs == jaxzoo.Outputs(splits=("test",))


def test_the_config_and_the_python_of_the_population_page_are_the_same_zoos(tmp_path):
    page = ROOT / "docs" / "population.md"
    (config,), (table,), (script, *_) = (blocks_of(page, language) for language in ("toml", "csv", "python"))
    (tmp_path / "my_zoos.toml").write_text(config)
    (tmp_path / "points.csv").write_text(table)
    by_grid, by_draws, by_table = jaxzoo.read_config(tmp_path / "my_zoos.toml")
    names: dict = {}
    exec(script.partition("drawn = ")[0], names)  # what is written here, not data
    assert by_grid.grid == names["grid"]
    assert by_draws.draws == names["draws"]
    assert len(jaxzoo.plan_zoo(by_grid).members) == len(jaxzoo.plan_zoo(names["by_grid"]).members) == 16
    assert len(jaxzoo.plan_zoo(by_table).members) == 3
    assert jaxzoo.plan_zoo(names["by_table"]).members[0].hyperparameters["train_fraction"] == 0.5


def test_the_population_page_says_every_factor():
    text = (ROOT / "docs" / "population.md").read_text()
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == {*FACTORS}


def test_the_pictures_of_the_population_page_are_drawn(tmp_path):
    config = tomllib.loads((ROOT / "docs" / "fashion.toml").read_text())
    digits = jaxzoo.load_spec("digits")
    for name, zoo in config["zoos"].items():
        table = full_table(digits) | {"name": name, "grid": None, "seeds": None} | zoo | {"epochs": 3, "twins": "none"}
        spec = read_table(table, jaxzoo.ZooSpec)
        jaxzoo.generate(spec, tmp_path / name, models=8)
    command = [sys.executable, ROOT / "docs" / "population.py", "fashion-draws", "fashion-pairs"]
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    apart = re.search(r"distance in weights: median by epoch \[(.*)\]", done.stdout)
    assert apart is not None
    distances = [float(value) for value in apart[1].split(", ")]
    assert distances[:3] == [0.0] * 3
    assert min(distances[3:]) > 0
    assert {path.name for path in tmp_path.glob("*.png")} == {"population-draws.png", "population-pairs.png"}


def check_picture(folder):
    assert (folder / "digits-accuracy.png").stat().st_size > 10_000


def check_gelu_zoo(folder):
    assert jaxzoo.open_zoo(folder / "zoos" / "gelu-digits").epochs == (0, 1, 2)


def check_nets(folder):
    (config,) = blocks_of(ROOT / "docs" / "network.md", "toml")
    (folder / "networks.toml").write_text(config)
    specs = {spec.name: spec for spec in jaxzoo.read_config(folder / "networks.toml")}
    assert [*specs] == ["strided", "perceptrons", "several", "drawn"]
    for name in ("strided", "drawn"):  # the page has them in Python, too
        zoo = jaxzoo.open_zoo(folder / "zoos" / name)
        assert (zoo.spec, zoo.epochs) == (specs[name], (0, 1, 2))
    assert len(zoo.groups) == 3
    zoo = jaxzoo.open_zoo(folder / "zoos" / "nets")
    assert (len(zoo.members), zoo.epochs, [*zoo.twins]) == (8, (0, 1, 2), ["magnitude"])


LEFT_BEHIND = {"reading.md": check_picture, "making.md": check_gelu_zoo, "network.md": check_nets}


def test_the_pages_with_python_are_found():
    # a block whose fence is misspelt would not be run, and nobody would notice
    assert {name_of(page): len(blocks_of(page, "python")) for page in WITH_PYTHON} == {
        "README.md": 1,
        "making.md": 1,
        "network.md": 2,
        "population.md": 3,
        "reading.md": 7,
        "research.md": 1,
    }


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_the_python_of_a_page_runs(page, digits_zoo, tmp_path):
    shutil.copytree(digits_zoo, tmp_path / "zoos" / "digits")
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks_of(page, "python")))
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if page.name in LEFT_BEHIND:
        LEFT_BEHIND[page.name](tmp_path)


def test_the_afternoons_research_runs(digits_zoo):
    """On 8 models after 2 epochs: 28 pairs, of which 20 are taken, at 11 points, before and after they are matched."""
    pytest.importorskip("torch")
    command = [sys.executable, ROOT / "docs" / "afternoon.py", digits_zoo]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "440 models on 360 images" in done.stdout
    assert len(re.findall(r"lost half-way, .*: -?\d\.\d+ \(quartiles", done.stdout)) == 2
    assert re.search(r"test accuracy from weights: R\^2 -?\d+\.\d+ on 4 states", done.stdout)


def test_commands_are_found_in_blocks_and_in_sentences():
    assert ("README.md", "generate --zoo digits") in COMMANDS
    assert ("README.md", "generate --list") in COMMANDS
    assert {command.split()[0] for _, command in COMMANDS} == set(VERBS)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_that_is_shown_exists(page, command, capsys):
    verb = command.split()[0]
    assert verb in VERBS
    with pytest.raises(SystemExit, match=r"^0$"):
        importlib.import_module(module_of(verb)).main(["--help"])
    assert set(FLAG.findall(command)) <= set(FLAG.findall(capsys.readouterr().out))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_only_generate_is_also_a_module_that_runs(page):
    assert set(re.findall(r"python -m jaxzoo\.(\w+)", page.read_text())) <= {"generate"}


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_links_and_pictures_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#\s]+)", prose_of(page))
    files = [target for target in targets if "://" not in target]
    assert not [file for file in files if not (page.parent / file).exists()]


def test_readme_is_short_and_leads_to_every_page():
    assert len(README.read_text().splitlines()) <= 220
    assert {path.name for path in DOCS} == set(re.findall(r"\]\(docs/([\w-]+\.md)\)", prose_of(README)))


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_a_page_begins_with_a_title_and_what_it_is_for(page):
    title, blank, purpose = page.read_text().splitlines()[:3]
    assert title.startswith("# ")
    assert not blank
    assert purpose.startswith("This page ")
