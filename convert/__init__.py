"""OpenSpliceAI's `.pt` files to and from the network's variables: the only package that imports torch."""

from spliceai_jax.convert.pt import (
    calibrated_pt_bytes,
    flanking_size_of,
    pt_bytes,
    read_calibrated_pt,
    read_pt,
    read_temperature_pt,
    temperature_pt_bytes,
)
from spliceai_jax.convert.table import Tensor, tensor_table

__all__ = [
    "Tensor",
    "calibrated_pt_bytes",
    "flanking_size_of",
    "pt_bytes",
    "read_calibrated_pt",
    "read_pt",
    "read_temperature_pt",
    "temperature_pt_bytes",
    "tensor_table",
]
