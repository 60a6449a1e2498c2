"""Which bases around a splice site a logo shows."""

import numpy as np
from jaxtyping import Int

from spliceai_jax.architecture import SiteKind

LOGO_SPANS: dict[SiteKind, range] = {"donor": range(-2, 7), "acceptor": range(-20, 3)}
"""Places of the bases in a logo, relative to the site: a donor is the exon's last base, an acceptor its first."""

BaseCounts = Int[np.ndarray, "places 4"]
"""How often A, C, G and T occur at each of the places of `LOGO_SPANS`."""
