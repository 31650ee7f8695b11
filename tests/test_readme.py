"""What README says is true: its Python runs, its table is the one that the command prints."""

import re
import subprocess
import sys
from pathlib import Path

import jaxzoo
from jaxzoo.commands.listing import list_zoos
from jaxzoo.spec.config import published_specs
from jaxzoo.training.zoo import generate

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_table_of_zoos_is_the_printed_one():
    assert list_zoos([*published_specs().values()]) in README


def test_the_config_in_it_is_one(tmp_path):
    (block,) = re.findall(r"^```toml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    (tmp_path / "my_zoo.toml").write_text(block)
    (spec,) = jaxzoo.read_config(tmp_path / "my_zoo.toml")
    assert len(jaxzoo.plan_zoo(spec).members) == 128
    (tmp_path / "other.toml").write_text(re.sub(r'folder = .*instead: (tfds = "[^"]*").*', r"\1", block))
    assert jaxzoo.read_config(tmp_path / "other.toml")[0].dataset.tfds == "eurosat/rgb"


def test_the_python_in_it_runs(tmp_path):
    few = jaxzoo.TwinSpec(method="magnitude", epochs=2)
    generate(jaxzoo.load_spec("digits"), tmp_path / "zoos" / "digits", models=8, epochs=2, twins=few)
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    script = tmp_path / "readme.py"
    script.write_text("import matplotlib\nmatplotlib.use('agg')\n" + "\n".join(blocks))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "digits-accuracy.png").stat().st_size > 10_000
    assert jaxzoo.open_zoo(tmp_path / "zoos" / "gelu-digits").epochs == (0, 1, 2)
