"""Devices and compiled programs: what a process may have done with JAX before it calls us."""

import os
import subprocess
import sys

import jax
import pytest

from jaxzoo import devices
from jaxzoo.devices import Spread, over_models

BEGIN = "import sys, warnings, jax, numpy as np, jaxzoo\nimport jax.numpy as jnp\nwarnings.simplefilter('error')\n"


def run(code, **env):
    """What a fresh process of two cores prints."""
    limit = "import os\nif hasattr(os, 'sched_getaffinity'): os.sched_getaffinity = lambda pid: {0, 1}\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + BEGIN + code],
        capture_output=True, text=True, timeout=300, env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_core_is_a_device_and_a_second_call_does_no_harm():
    called = "jaxzoo.use_all_cores()\nprint(len(jax.devices()))\n"
    assert run(called + called) == ["2", "2"]


def test_after_jax_was_used_it_is_started_anew_where_nothing_is_held():
    """In a notebook whose first cell was `jax.devices()` there was no way out."""
    said = run(
        "print(len(jax.devices()))\nf = jax.jit(lambda x: x + 1)\nf(jnp.ones(3)).block_until_ready()\n"
        "jaxzoo.use_all_cores()\nprint(len(jax.devices()), f(jnp.ones(3)))\n"
        "zoo = jaxzoo.generate(jaxzoo.load_spec('digits'), sys.argv[0] + 'z', models=1, epochs=1, twins='none')\n"
        "print(zoo.epochs)".replace("sys.argv[0] + 'z'", "__import__('tempfile').mkdtemp()")
    )
    assert said == ["1", "2 [2. 2. 2.]", "(0, 1)"]


def test_where_arrays_are_held_one_line_says_what_training_takes():
    said = run(
        "held = jnp.ones(3)\n"
        "with warnings.catch_warnings(record=True) as caught:\n    warnings.simplefilter('always')\n"
        "    jaxzoo.use_all_cores()\n"
        "print(len(caught), caught[0].message)\nprint(len(jax.devices()), held.sum())"
    )
    line, rest = said
    assert line.startswith("1 use_all_cores(): 1 arrays of JAX are in use, so training takes 1 of 2 cores; expected a ")
    assert rest == "1 3.0"


FORK = """
jaxzoo.interpolate(np.zeros(2464), np.zeros(2464), 2)
network = jaxzoo.build_network(jaxzoo.load_spec("mnist-seed"))
images = np.zeros((1, 28, 28, 1), np.float32)
if len(sys.argv) > 1:
    jaxzoo.predict_params(network, np.zeros((1, 2464)), images)
warnings.simplefilter("ignore")  # JAX warns of every fork
child = os.fork()
if child == 0:
    try:
        print(jaxzoo.predict_params(network, np.zeros((1, 2464)), images).shape, flush=True)
    except jaxzoo.InputError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", "(1, 1, 10)"),
        ("sys.argv.append('before')\n", "JAX cannot be used in a process that was forked after it had been used, "),
    ],
)
def test_computing_in_a_forked_process_works_or_is_one_line(before, said):
    (line,) = run(before + FORK)
    assert line.startswith(said)


CACHE = """
spec = jaxzoo.load_spec("digits")
out = __import__("tempfile").mkdtemp()
before = dict(jax.config.values)
seen = []
jaxzoo.generate(spec, out, models=1, epochs=1, twins="none")
jax.jit(lambda x: jnp.linalg.svd(x))(jnp.ones((30, 30)))[0].block_until_ready()
print({name: jax.config.values[name] for name in before} == before)  # JAX adds names when it first needs them
"""


@pytest.mark.parametrize("asked", [{}, {"JAX_ENABLE_COMPILATION_CACHE": "false"}], ids=["as it is", "turned off"])
def test_calls_from_python_keep_compiled_programs_unless_told_not_to(asked, tmp_path):
    """A second process took 33 s for what takes 8 s with them."""
    env = {"XDG_CACHE_HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": "", **asked}
    assert run(CACHE, **env) == ["True"]
    kept = [path.name for path in (tmp_path / "jaxzoo" / "compiled").rglob("*")] if not asked else []
    assert any(name.startswith("jit_train") for name in kept) == (not asked)
    assert not list(tmp_path.rglob("jit_train*")) or not asked


def test_a_cache_that_the_caller_has_is_the_one_that_is_used(tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path / "ours"), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "theirs")}
    assert run(CACHE, **env) == ["True"]
    assert list((tmp_path / "theirs").glob("jit_train*"))
    assert not (tmp_path / "ours").exists()


def test_on_a_gpu_the_order_of_sums_is_fixed(monkeypatch):
    """Without it, `vmap` on an H200 gave 48 of 64 members other bits in a second run. No GPU is needed to ask."""
    asked = {}
    monkeypatch.setattr(jax, "jit", lambda function, **how: asked.update(how))
    for platform in ("gpu", "cpu"):
        monkeypatch.setattr(devices, "platform_of", lambda mesh, platform=platform: platform)
        mesh = f"a {platform}"  # what is asked of a kind of device is found once for each mesh
        over_models(mesh, "name", lambda values: values, (Spread.MODELS,), lambda values: None)
        assert asked["compiler_options"].get("xla_gpu_deterministic_ops", False) is (platform == "gpu")
