"""The few expensive operations; each has a plain PyTorch definition in ``reference.py``."""

from multiace.ops.paths import ConvolutionPaths
from multiace.ops.reference import convolution, element_linear, symmetric_product

__all__ = ["ConvolutionPaths", "convolution", "element_linear", "symmetric_product"]
