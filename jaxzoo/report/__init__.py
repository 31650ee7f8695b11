"""Shows a zoo as a page and as pictures: `jaxzoo report ZOO`."""
