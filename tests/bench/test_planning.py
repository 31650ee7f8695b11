"""What zoos take on hardware that need not be here: by hand, from the rates that are known, and from documents."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from populations import small_spec, write_digits_config

from jaxzoo.bench.device_rates import Rate, dense_rates, document_rates, known_rates, reference_key, twin_rate
from jaxzoo.bench.document import SCHEMA
from jaxzoo.bench.hardware import KINDS, hardware_of
from jaxzoo.bench.known_rates import DENSE, KNOWN, MEASURED, VARIATIONAL, Source
from jaxzoo.bench.planning import Layout, Seconds, best_of, estimate_of, layouts_of
from jaxzoo.commands.plan import main
from jaxzoo.errors import InputError
from jaxzoo.spec.config import load_spec
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training.checks import restrict

DOCS = Path(__file__).parents[2] / "docs"
BY_HAND = Source(MEASURED, "2026-11", "by hand")


def estimate(spec, on, rates=None, twin=None, kept=None):
    hardware = hardware_of(on)
    layouts = layouts_of(spec, hardware, known_rates(hardware) if rates is None else rates, twin)
    return estimate_of(layouts, hardware, twin, kept)


def test_a_seed_zoo_on_one_gpu_by_hand():
    """1,000 models in 4 slabs of 256 lanes: as long as 1,024. An evaluated image counts as a third of a trained one."""
    spec = load_spec("mnist-seed")
    found = estimate(spec, "h200:1", twin=spec.twins)
    each = 50 * (50_000 + 20_000 / 3) + 70_000 / 3
    assert found.seconds.zoo == pytest.approx(1024 * each / 1_934_024)
    assert found.layout.ways == {spec.layers: ("lanes", 256)}
    # twins have a rate at 1,024 lanes only, where a step takes as long as 2.02 dense ones
    steps = 1_792_473 / 886_281
    twins = 1024 * (25 * 50_000 * steps + (25 * 20_000 + 70_000) / 3) / 1_934_024
    assert found.seconds.twins == pytest.approx(twins)
    assert [each.basis for each in found.layout.found] == ["measured", "by arithmetic"]
    assert found.work == pytest.approx(found.seconds.both)
    # 70,000 images, 1,024 models with Adam's two moments, a batch's activations: 0.1 GB, of which 2,464 x 3 floats each
    assert 55e6 + 1024 * 2464 * 12 < found.memory < 800e6
    assert found.disk > 1000 * 4 * 2464 * (51 + 26)


def two_kinds():
    """Two cohorts of five models, trained on 47 images for 3 epochs, and a rate of theirs with two lanes."""
    spec = small_spec(seeds=5, epochs=3, activation=("tanh", "relu"))
    key = plan_zoo(spec).cohorts[0].key
    return spec, [Rate(key, "small", DENSE, ("lanes", 2), 100.0, BY_HAND)]


def test_cohorts_stay_on_a_device_each_where_that_is_quicker():
    """Spread over two devices each cohort is two slabs of 2 + 2; alone on one it is three slabs of 2."""
    spec, rates = two_kinds()
    each = 3 * (47 + 38 / 3) + 85 / 3
    one = estimate(spec, "cpu:1", rates)
    assert one.seconds.both == pytest.approx(2 * 6 * each / 100)
    two = estimate(spec, "cpu:2", rates)
    assert (two.layout.team, two.seconds.both) == (1, pytest.approx(6 * each / 100))
    assert two.work == pytest.approx(2 * 6 * each / 100)
    # four devices are more than there are cohorts: two slabs of 2 + 2 + 2 + 2 would be one after the other
    four = estimate(spec, "cpu:4", rates)
    assert (four.layout.team, four.seconds.both) == (4, pytest.approx(2 * 2 * each / 100))
    assert four.work == pytest.approx(4 * 2 * 2 * each / 100)


def test_cohorts_are_shared_out_the_longest_first():
    plan = plan_zoo(small_spec())

    def layouts(*seconds):
        return [Layout(1, plan, {}, [Seconds(zoo, twins) for zoo, twins in seconds], ())]

    three = hardware_of("cpu:3")
    team, busiest = best_of({1: layouts((1, 1), (2, 1), (2, 0), (2, 2), (3, 3), (4, 3))}, three)
    # 7, 6, 4 go to one each; 3 joins the 4; 2 (of 1 and 1) joins the 6; 2 (of 2 and 0) the first 7: 9, 8, 7
    assert (team, busiest) == (1, Seconds(4 + 2, 3 + 0))
    unknown = [Layout(1, plan, {}, None, ())]
    assert best_of({1: unknown}, three) == (1, None)


@pytest.mark.parametrize(
    ("text", "machine", "layouts"),
    [
        ("v5e", 1, (1,)),
        ("v5e:8", 8, (8, 1)),
        ("v5e:256", 4, (4, 1)),
        ("h100:16", 8, (8, 1)),
        ("cpu:64", 64, (64, 1)),
    ],
)
def test_hardware_stands_in_machines(text, machine, layouts):
    hardware = hardware_of(text)
    assert (hardware.machine, hardware.layouts) == (machine, layouts)


def test_every_known_rate_stands_in_the_documentation():
    """A figure that is measured anew changes in both."""
    pages = (DOCS / "performance.md").read_text() + (DOCS / "resnets.md").read_text()
    for word, rows in KNOWN.items():
        for row in rows:
            figure = {"v5e": 1.5e9 / row.samples_per_s, "cpu": row.samples_per_s * (2 if row.lanes > 1 else 1)}.get(
                word, row.samples_per_s
            )
            shown = f"{figure:,.0f}" if figure > 100 else f"{figure:.1f}"
            assert shown in pages, row
    assert {*KNOWN} == {*KINDS}


def test_what_is_not_known_is_had_by_arithmetic_and_says_so():
    rates = known_rates(hardware_of("h200:1"))
    key = reference_key("tiny-imagenet-resnet18")
    ((way, found),) = dense_rates(key, rates).items()
    # four times the pixels, so a quarter of the rate; 200 classes instead of 10 are next to nothing
    assert way == ("vmap", 1)
    assert found.samples_per_s == pytest.approx(6_124 / 4, rel=0.01)
    assert (found.basis, found.name) == ("by arithmetic", "cifar10-resnet18")
    twins = twin_rate(key, way, found, VARIATIONAL, rates)
    assert (twins.samples_per_s, twins.basis) == (found.samples_per_s / 2, "by arithmetic")
    small = dense_rates(reference_key("mnist-seed")._replace(precision="bfloat16"), rates)
    assert small == {}  # by vmap, of which nothing small was measured


def test_many_architectures_have_the_lanes_that_their_models_fill():
    """Each of ten chains has one model, which a GPU computes by vmap: nobody measured that."""
    assert estimate(restrict(load_spec("cnn-wild-park"), models=10), "h200:1").seconds is None
    clip = estimate(load_spec("weight-clip-cnn"), "h200:1")  # one architecture, a hundred models of a kind
    assert [*clip.layout.ways.values()] == [("lanes", 128)]


def document(**changes):
    machine = {"cpu": "a CPU", "cores": 4, "memory_GB": 16, "platform": "cpu", "device": "a CPU", "devices": 4}
    rows = [
        {"architecture": "cnn-s", "contender": name, "samples_per_s": rate, "lowest": 1, "highest": 2, "rounds": 3}
        for name, rate in {
            "PyTorch, a model per core": 1e3,
            "lanes, seed zoo": 4e5,
            "lanes, 32 wide, seed zoo": 2e5,
            "twins, variational-dropout": 1e5,
            "vmap, seed zoo": None,
        }.items()
    ]
    return {
        "schema": SCHEMA,
        "machine": machine | {"os": "Linux"},
        "versions": {},
        "date": "2026-11-26T12:00:00+00:00",
        "command": "jaxzoo bench",
        "options": {},
        "rates": rows,
        "zoos": [],
        "estimates": [],
        "checks": [],
    } | changes


def rates_of(made, on):
    return document_rates({"a.json": made}, hardware_of(on), load_spec)


def test_the_rates_of_a_document_are_those_of_one_device():
    rates = rates_of(document(), "cpu:2")
    assert {(rate.trained, rate.way): rate.samples_per_s for rate in rates} == {
        (DENSE, ("lanes", 16)): 1e5,
        (DENSE, ("lanes", 32)): 5e4,
        (VARIATIONAL, ("lanes", 16)): 2.5e4,
    }
    spec = load_spec("mnist-seed")
    found = estimate(spec, "cpu:2", rates, TwinSpec())
    each = 50 * (50_000 + 20_000 / 3) + 70_000 / 3
    assert found.seconds.zoo == pytest.approx(512 * each / 1e5)  # 32 slabs of 16 + 16
    chip = {"zoo": "mnist-seed", "chip": "v5e", "engine": "lanes", "lanes": 1024, "samples_per_s": 3e6}
    (rate,) = rates_of(document(rates=[], estimates=[chip], options={"twins": "magnitude"}), "v5e:8")
    assert (rate.trained, rate.way, rate.samples_per_s) == ("magnitude", ("lanes", 1024), 3e6)


@pytest.mark.parametrize(
    ("changes", "on", "message"),
    [
        ({}, "h100:1", "a.json: holds no rates of a NVIDIA H100 .it is of a cpu., expected those of a gpu"),
        ({"rates": []}, "cpu:1", "a.json: holds no rates of a CPU core"),
        ({"machine": document()["machine"] | {"devices": "4"}}, "cpu:1", "machine.devices is '4', expected a number"),
        ({"rates": [document()["rates"][1] | {"samples_per_s": -1}]}, "cpu:1", "samples_per_s is -1, expected a"),
        ({"rates": [document()["rates"][1] | {"architecture": "cnn-x"}]}, "cpu:1", "cnn-x"),
    ],
)
def test_documents_that_say_nothing_of_the_hardware_are_refused(changes, on, message):
    with pytest.raises(InputError, match=message):
        rates_of(document(**changes), on)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on", "v9:3"], "--on is 'v9:3', expected one of v5e, h100, h200, cpu, and how many, as in v5e:8"),
        (["--on", "cpu:0"], "--on is 'cpu:0', expected 1 to 100,000 devices, as in cpu:8"),
        (["--on", "cpu:"], "--on is 'cpu:', expected 1 to 100,000 devices"),
        (["--on", "cpu:two"], "--on is 'cpu:two', expected 1 to 100,000 devices"),
        (["--on", "v5e:10"], "--on is 'v5e:10', expected at most 8, what a machine has, or a multiple of 4"),
        ([], "the following arguments are required: --on"),
        (["--on", "cpu:2", "--zoo", "svnh"], "there is no zoo or dataset 'svnh'; nearest: svhn"),
        (["--on", "cpu:2", "--zoo", "digits", "--models", "999"], "models is 999, expected 1..128"),
        (["--on", "cpu:2", "--zoo", "digits", "--keep-epochs", "99"], "keep_epochs has 99, expected epochs of 0..20"),
        (["--on", "cpu:2", "--rates", "old.json"], "old.json: schema is 'jaxzoo-bench/0', expected 'jaxzoo-bench/1'"),
        (["--on", "cpu:2", "--rates", "none.json"], "none.json: cannot be read (No such file or directory)"),
        (["--on", "h100:2", "--rates", "good.json"], "good.json: holds no rates of a NVIDIA H100"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "old.json").write_text(json.dumps(document(schema="jaxzoo-bench/0")))
    (tmp_path / "good.json").write_text(json.dumps(document()))
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


PLAN = """
import sys
from jax._src import xla_bridge
from jaxzoo.__main__ import main
status = main(sys.argv[1:])
assert xla_bridge._backends == {}, "a device was taken"
sys.exit(status)
"""


def plan_in_a_process(*arguments):
    done = subprocess.run([sys.executable, "-c", PLAN, "plan", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_all_published_zoos_are_planned_without_a_device():
    text = plan_in_a_process("--on", "v5e:256")
    assert text.startswith("on 256 x TPU v5e chip in 64 machines of 4: an estimate; nothing was trained for it")
    rows = {line.split()[0]: line.split() for line in text.splitlines()}
    assert rows["cifar10-resnet18"][1:3] == ["1,000", "125"]
    total = next(line for line in text.splitlines() if line.strip().startswith("all 27"))
    assert total.split()[2] == "50,360"
    assert "rates 1 by arithmetic from mnist-seed, 2 of stl10-large-seed" in text
    assert "; estimated 2026-11: cycles that the TPU's compiler estimates" in text
    assert "no rate of" not in text


def test_zoos_of_a_file_are_planned_and_a_network_without_a_rate_is_named(tmp_path, capsys):
    config = write_digits_config(tmp_path / "tiny.toml")
    text = config.read_text()
    zoo = text[text.index("[zoos.tiny]") :]
    other = zoo.replace("zoos.tiny", "zoos.half").replace(
        'architecture = "cnn-s"', 'architecture = "cnn-s"\nprecision = "bfloat16"'
    )
    config.write_text(f"{text}\n{other}")
    assert main(["--config", str(config), "--on", "cpu:2", "--keep-epochs", "last"]) == 0
    said = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in said.splitlines()}
    assert rows["tiny"][1:3] == ["4", "2"]
    assert rows["half"].count("-") == 5
    assert "no rate of CPU core is known for half: --rates takes measured ones" in said
