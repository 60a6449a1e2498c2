"""OpenSpliceAI's `.pt` files to and from the network's variables: the only package that imports torch."""

from spliceai_jax.convert.pt import flanking_size_of, pt_bytes, read_pt
from spliceai_jax.convert.table import Tensor, tensor_table

__all__ = ["Tensor", "flanking_size_of", "pt_bytes", "read_pt", "tensor_table"]
