"""A zoo says its licence in zoo.json and on its card, its twins say it too, and no number depends on it."""

import dataclasses
import json
import tarfile
from pathlib import Path

import pytest
from populations import small_spec, store_zoo, write_digits_config

import jaxzoo
from jaxzoo.commands.generate import _check, parse
from jaxzoo.errors import InputError
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.licence import MOST_CHARACTERS, check_licence, state_licence
from jaxzoo.storage.record import NO_LICENCE, read_record


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    (spec,) = jaxzoo.read_config(write_digits_config(tmp_path_factory.mktemp("config") / "z.toml", epochs="1"))
    return dataclasses.replace(spec, models=1)


def said(folder):
    """What each of the two files says."""
    card = (folder / "README.md").read_text().splitlines()
    (line,) = [each for each in card if each.startswith("Licence: ")]
    assert json.loads((folder / "zoo.json").read_text())["licence"] == line.removeprefix("Licence: ")
    return line.removeprefix("Licence: ")


def test_it_is_kept_changed_and_shared_with_twins_and_changes_nothing_else(spec, tmp_path):
    call = {"twins": TwinSpec(method="magnitude", epochs=1)}
    folder, twins = tmp_path / "z", tmp_path / "z" / "twins" / "magnitude"
    zoo = jaxzoo.generate(spec, folder, **call)
    assert said(folder) == said(twins) == NO_LICENCE
    before = {path: path.read_bytes() for path in folder.rglob("cohorts/**/*") if path.is_file()}
    digest, record = zoo.spec.digest, zoo.record
    for licence, wanted in (("cc-by-4.0", "cc-by-4.0"), (None, "cc-by-4.0"), ("CC0, \\1 ä", "CC0, \\1 ä")):
        zoo = jaxzoo.generate(spec, folder, licence=licence, **call)
        assert said(folder) == said(twins) == zoo.record.licence == wanted
    assert dataclasses.replace(zoo.record, licence=NO_LICENCE) == record
    assert zoo.spec.digest == digest
    assert {path: path.read_bytes() for path in before} == before
    assert [*jaxzoo.verify_zoo(folder, deep=True)] == []


def test_a_zoo_begins_with_its_licence_and_later_twins_have_it(spec, tmp_path):
    jaxzoo.generate(spec, tmp_path / "z", licence="mit", twins="none")
    jaxzoo.make_twins(tmp_path / "z", TwinSpec(method="magnitude", epochs=1))
    assert said(tmp_path / "z") == said(tmp_path / "z" / "twins" / "magnitude") == "mit"


def test_the_command_line_takes_it(spec, tmp_path):
    options = parse(["--zoo", "x", "--licence", "cc-by-4.0", "--out", str(tmp_path)])
    assert _check(spec, options).licence == "cc-by-4.0"


@pytest.mark.parametrize("licence", ["", " ", "two\nlines", "x" * (MOST_CHARACTERS + 1), "bell\a", " mit", 5])
def test_a_text_that_is_no_line_is_refused_before_anything_is_written(spec, tmp_path, licence):
    with pytest.raises(InputError, match=r"^licence is .*, expected one printable line of 1") as caught:
        jaxzoo.generate(spec, tmp_path / "z", licence=licence)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "z").exists()
    assert check_licence("x" * MOST_CHARACTERS)


def test_a_zoo_of_the_first_format_says_it_too(tmp_path):
    with tarfile.open(Path(__file__).parent / "format-1" / "tiny.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    before = read_record(tmp_path / "tiny")
    state_licence(tmp_path / "tiny", "mit")
    assert dataclasses.replace(before, licence="mit") == read_record(tmp_path / "tiny")
    assert said(tmp_path / "tiny") == "mit"


def test_what_a_maker_wrote_on_the_card_stays(tmp_path):
    """Also on the card of a zoo that was made before cards had a licence."""
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=1, epochs=1))
    card = zoo.path / "README.md"
    card.write_text("# Mine\n\nLicence: none\n\nMore.\n")
    state_licence(zoo.path, "mit")
    assert card.read_text() == "# Mine\n\nLicence: mit\n\nMore.\n"
    card.write_text("# Mine\n")
    state_licence(zoo.path, "bsd")
    assert card.read_text() == "# Mine\n\nLicence: bsd\n"
    assert read_record(zoo.path).licence == "bsd"
    card.unlink()
    state_licence(zoo.path, "mit")
    assert said(zoo.path) == "mit"
