"""A zoo as a page and as pictures: `python -m jaxzoo.report ZOO`."""
