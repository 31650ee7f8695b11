"""Many devices of one machine: whatever is trained ends in the bits of one device, and --devices says which train."""

import dataclasses

import jax
import pytest
from jax.sharding import Mesh
from populations import assert_same_weights, replace_dataset, resnet_spec, small_spec, write_folder

import jaxzoo
from jaxzoo.commands import generate as generate_command
from jaxzoo.commands import twins as twins_command
from jaxzoo.commands.arguments import device_choice
from jaxzoo.devices import some_devices
from jaxzoo.errors import InputError

VARIATIONAL, MAGNITUDE = (jaxzoo.TwinSpec(method=each, epochs=1) for each in ("variational-dropout", "magnitude"))


@pytest.mark.parametrize("name", ["lanes", "vmap", "resnet"])
def test_two_devices_end_in_the_bits_of_one(name, tmp_path):
    """The last slab on two devices is not full."""
    spec, how = {
        "lanes": (small_spec(seeds=7, epochs=2, dropout=(0.2,)), {"lanes": 2, "twins": VARIATIONAL}),
        "vmap": (small_spec(seeds=3, epochs=2), {"engine": "vmap", "lanes": 1, "twins": MAGNITUDE}),
        # one on each device; the third one's neighbour is a copy of it
        "resnet": (dataclasses.replace(resnet_spec(), epochs=1, models=3), {"twins": "none"}),
    }[name]
    spec = replace_dataset(spec, folder=str(tmp_path / "images"))
    write_folder(tmp_path / "images", spec.dataset)
    zoos = [jaxzoo.generate(spec, tmp_path / str(count), devices=jax.devices()[:count], **how) for count in (1, 2)]
    assert_same_weights(*zoos)
    assert zoos[0].metrics.equals(zoos[1].metrics)


def test_the_devices_that_are_asked_for_train(digits_zoo, tmp_path, monkeypatch):
    meshes = []

    def note(job, *arguments, **options):
        (mesh,) = (each for each in arguments if isinstance(each, Mesh))
        meshes.append([*mesh.devices.flat])
        raise InputError("no further")

    for command, name in (
        (generate_command, "run_generate"),
        (generate_command, "forecast"),
        (twins_command, "run_make_twins"),
    ):
        monkeypatch.setattr(command, name, note)
    one, two = jax.devices()
    for text, devices in {"2": [one, two], "1": [one], "1:2": [two], "1,0": [two, one]}.items():
        given = ["--zoo", "digits", "--out", str(tmp_path), "--devices", text]
        assert generate_command.main(given) == generate_command.main([*given, "--plan"]) == 2
        assert twins_command.main([str(digits_zoo), "--devices", text]) == 2
        assert meshes == [devices] * 3
        meshes.clear()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (3, "devices is 3, expected 1 to 2: here are 2 cpu devices"),
        (0, "devices is 0, expected 1 to 2"),
        ([0, 2], "devices is 2, expected indices of 0 to 1, of the cpu devices here"),
        ([1, 1], r"devices is \[1, 1\], expected each index once"),
    ],
)
def test_devices_that_are_not_here_are_one_line(asked, message):
    with pytest.raises(InputError, match=message):
        some_devices(asked)


@pytest.mark.parametrize("verb", ["generate --zoo digits", "twins Z"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "argument --devices: got '0', expected a whole number, 1 or more"),
        ("3", "devices is 3, expected 1 to 2: here are 2 cpu devices"),
        ("0,2", "devices is 2, expected indices of 0 to 1"),
        ("all", "argument --devices: got 'all', expected a whole number"),
        ("2:2", "argument --devices: got '2:2', expected ranges of 1 to"),
    ],
)
def test_a_wrong_number_of_devices_is_said_before_anything_is_written(
    verb, text, message, digits_zoo, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    name, *rest = [str(digits_zoo) if each == "Z" else each for each in verb.split()]
    main = {"generate": generate_command, "twins": twins_command}[name].main
    assert main([*rest, "--devices", text]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_number_is_how_many_and_a_list_is_which():
    assert device_choice("2") == 2
    assert device_choice("0,2") == [0, 2]
    assert device_choice("2:3") == [2]
