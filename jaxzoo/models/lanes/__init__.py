"""MANY models at once: the forward pass of a population and its kernels, with the model axis last."""

from jaxzoo.models.lanes.activation import activation_of
from jaxzoo.models.lanes.walk import forward, gains_by_folding, supports

__all__ = ["activation_of", "forward", "gains_by_folding", "supports"]
