"""What the user should know about data sets: told as soon as it is found, so also where an error follows."""

import warnings

from spliceai_jax.errors import SpliceAIWarning


class Notes(list[str]):
    """The notes, in the order in which they were found; `append` also tells them."""

    def append(self, note: str) -> None:
        """Add a note and tell it, once."""
        if note not in self:
            super().append(note)
            warnings.warn(note, SpliceAIWarning, stacklevel=2)
