"""The version of jaxzoo, as the package and every zoo carry it."""

__version__ = "0.1.0"
