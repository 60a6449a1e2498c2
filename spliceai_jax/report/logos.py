"""Sequence logos of the bases around splice sites."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.text import TextPath
from matplotlib.transforms import Affine2D

from spliceai_jax.architecture import SiteKind
from spliceai_jax.encoding import BASES
from spliceai_jax.report.plots import COLOURS, DOTTED
from spliceai_jax.report.test_set import LOGO_SPANS, BaseCounts

_LETTERS = BASES[1:]

_LEAST_HEIGHT = 0.01
"""The lowest letter that is drawn, in bits."""


def draw_logos(figure: Figure, kind: SiteKind, logos: Sequence[tuple[str, BaseCounts]]) -> None:
    """Draw logos below each other, each with its title."""
    panels = figure.subplots(len(logos), sharex=True, squeeze=False)[:, 0]
    for ax, (title, counts) in zip(panels, logos, strict=True):
        _draw_logo(ax, counts)
        ax.set_title(title, loc="left", pad=2)
        ax.set_yticks([0, 1, 2])
    _number_places(list(panels), kind)
    panels[len(panels) // 2].set_ylabel("bits")


def _number_places(panels: list[Axes], kind: SiteKind) -> None:
    """Mark the boundary of exon and intron in all panels, and number the places below the last."""
    places, first_downstream = LOGO_SPANS[kind], 1 if kind == "donor" else 0
    for ax in panels:
        ax.axvline(first_downstream - places.start - 0.5, color=COLOURS["ink"], linewidth=0.8, linestyle=DOTTED)
    # No base has the number 0: the last one upstream of the boundary is -1, the first one downstream +1.
    numbers = [place - first_downstream + (place >= first_downstream) for place in places]
    shown = [i for i, number in enumerate(numbers) if kind == "donor" or number % 5 == 0 or number in (-1, 3)]
    panels[-1].set_xticks(shown, [f"{numbers[i]:+d}" for i in shown])
    panels[-1].set_xlabel("exon | intron" if kind == "donor" else "intron | exon")


def _draw_logo(ax: Axes, counts: BaseCounts) -> None:
    """Draw letters as high as their share of the information at their place, the commonest on top."""
    ax.set_xlim(-0.5, len(counts) - 0.5)
    ax.set_ylim(0, 2)
    for place, at_place in enumerate(counts):
        share = at_place / max(at_place.sum(), 1)
        if not share.sum():
            continue
        bits = 2 + sum(p * math.log2(p) for p in share if p)
        bottom = 0.0
        for base in np.argsort(share, kind="stable"):
            height = float(share[base] * bits)
            if height < _LEAST_HEIGHT:
                continue
            letter = _LETTERS[base]
            path, x0, y0, width, full = _glyph(letter)
            fitted = Affine2D().translate(-x0, -y0).scale(0.92 / width, height / full).translate(place - 0.46, bottom)
            colour = COLOURS[f"base-{letter.lower()}"]
            ax.add_patch(PathPatch(fitted.transform_path(path), color=colour, linewidth=0))
            bottom += height


@cache
def _glyph(letter: str) -> tuple[TextPath, float, float, float, float]:
    """Return a letter's outline, its left and lower edge, its width and its height."""
    path = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    return path, box.x0, box.y0, box.width, box.height
