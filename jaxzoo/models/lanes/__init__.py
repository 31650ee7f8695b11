"""MANY models: kernels and the walk over an architecture's layers, with the model axis last."""

from jaxzoo.models.lanes.walk import forward, supports

__all__ = ["forward", "supports"]
