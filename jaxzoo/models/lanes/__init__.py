"""MANY models at once: the forward pass of a population and its kernels, with the model axis last."""

from jaxzoo.models.lanes.walk import forward, supports

__all__ = ["forward", "supports"]
