"""What teachers say of windows: their probabilities, which training batches carry beside the labels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Int


@dataclass(frozen=True, eq=False)
class Targets:
    """The teachers' probabilities of the positions of some windows.

    Attributes:
        probabilities: Those of one window after another, each up to its last labelled position; three zeros at a
            position that has no target.
        starts: For each row of `Windows.bases`, where its first position stands in `probabilities`; -1: it has none.
    """

    probabilities: Float16[np.ndarray, "positions 3"]
    starts: Int[np.ndarray, " file_windows"]

    def of(self, row: int, length: int) -> Float16[np.ndarray, "length 3"] | float:
        """Return the targets of a window's first positions; 0 if it has none.

        Arguments:
            row: The window's row in `Windows.bases`.
            length: The number of positions.
        """
        start = int(self.starts[row])
        return 0.0 if start < 0 else self.probabilities[start : start + length]
