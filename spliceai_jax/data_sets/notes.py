"""What the user should know about data sets: told as soon as it is found, so also where an error follows."""

import warnings
from collections.abc import Sequence

from spliceai_jax.errors import SpliceAIWarning
from spliceai_jax.genome.annotation_repairs import Repair

_REPAIRS_TOLD = 8


class Notes(list[str]):
    """The notes, in the order in which they were found; `append` also tells them."""

    def append(self, note: str) -> None:
        """Add a note and tell it, once."""
        if note not in self:
            super().append(note)
            warnings.warn(note, SpliceAIWarning, stacklevel=2)


def tell_repairs(repairs: Sequence[Repair]) -> None:
    """Tell what of an annotation was repaired, a line for each rule; of many rules the first."""
    for repair in repairs[:_REPAIRS_TOLD]:
        warnings.warn(f"repaired: {repair.text}", SpliceAIWarning, stacklevel=2)
    if len(repairs) > _REPAIRS_TOLD:
        more = len(repairs) - _REPAIRS_TOLD
        warnings.warn(f"repaired: {more} more things, which the page names", SpliceAIWarning, stacklevel=2)
