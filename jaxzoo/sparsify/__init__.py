"""How models become sparse: what changes in a training step, and which weights are gone."""

from jaxzoo.sparsify.magnitude import apply_masks
from jaxzoo.sparsify.methods import Derived, Method, build_method
from jaxzoo.sparsify.sparsity import sparsity_metrics

__all__ = ["Derived", "Method", "apply_masks", "build_method", "sparsity_metrics"]
