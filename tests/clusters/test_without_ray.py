"""Where Ray is not installed, one line says what to install."""

import sys

import pytest

import jaxzoo
from jaxzoo.errors import InputError


def test_without_ray_one_line_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"^Ray is not installed, expected the extra 'ray': pip install '"):
        jaxzoo.generate_on_ray(jaxzoo.load_spec("digits"), tmp_path / "zoo", models=1)
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_with_the_zoo_is_said_before_ray_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="models is 129, expected 1"):
        jaxzoo.generate_on_ray(jaxzoo.load_spec("digits"), tmp_path / "zoo", models=129)
