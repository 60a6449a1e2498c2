"""Windows whose labels are left out."""

from dataclasses import replace
from typing import Any

import numpy as np

from spliceai_jax.architecture import PADDING, UNLABELLED
from spliceai_jax.windows.facts import Codes
from spliceai_jax.windows.windows import Windows


class HiddenLabels:
    """The labels of a file, of which only padding is seen; everything else is UNLABELLED.

    Attributes:
        shape: The number of windows, and of labels in each.
    """

    def __init__(self, labels: Codes) -> None:
        """Hide these labels; they are not copied."""
        self._labels = labels
        self.shape = labels.shape

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._labels)

    def __getitem__(self, key: Any, /) -> Any:
        """Return a row, several rows given as an array, or, with a slice after a comma, some columns of them."""
        return np.where(self._labels[key] == PADDING, np.uint8(PADDING), np.uint8(UNLABELLED))


def without_labels(windows: Windows) -> Windows:
    """Return the same windows without their labels: only how far each gene reaches is known."""
    counts = np.zeros_like(windows.facts.class_counts)
    counts[:, PADDING] = windows.facts.class_counts[:, PADDING]
    sites = np.zeros_like(windows.facts.canonical_sites)
    facts = replace(windows.facts, class_counts=counts, canonical_sites=sites, fingerprint=None)
    return replace(windows, labels=HiddenLabels(windows.labels), given=facts)
