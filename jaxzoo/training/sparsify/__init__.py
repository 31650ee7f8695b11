"""The methods that make models sparse: what they change in a training step, and which weights they remove."""

from jaxzoo.training.sparsify.magnitude import apply_masks
from jaxzoo.training.sparsify.methods import Derived, Method, build_method

__all__ = ["Derived", "Method", "apply_masks", "build_method"]
