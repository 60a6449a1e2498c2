"""The report as a page."""

from datetime import datetime
from importlib import resources

import jinja2

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.report import verdict
from spliceai_jax.report.comparison import Comparison
from spliceai_jax.report.page_warnings import SETS, find_warnings
from spliceai_jax.report.plots import Plot
from spliceai_jax.report.shown_mistakes import show_mistakes
from spliceai_jax.runs.card import released_as
from spliceai_jax.runs.read import Run

_UNFOLDED = 5
"""The misses, and the false calls, that are shown at once; the others unfold."""


def render(run: Run, mark: str, comparison: Comparison | None, plots: dict[str, Plot], left_out: list[str]) -> str:
    """Return the whole page as HTML.

    Arguments:
        run: The run.
        mark: Attributes for the page's first element.
        comparison: The models on the test set; None: they could not be scored.
        plots: The figures by name.
        left_out: What had to be left out, in words.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(resources.files("spliceai_jax.report").joinpath("page.html").read_text())
    before, after = verdict.before_and_after(run, comparison)
    return template.render(
        run=run,
        choices=run.identity.choices,
        mark=mark,
        now=datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
        verdict=verdict.reach_verdict(run, before, after),
        warnings=find_warnings(run, before, after),
        left_out=left_out,
        tested=after or before,
        kinds=[(kind, verdict.rows(kind, before, after)) for kind in SITE_KINDS],
        plots=plots,
        mistakes=[
            ("Misses", "sites that the model does not call", show_mistakes(comparison, missed=True)),
            ("False calls", "positions that it calls but that are no such sites", show_mistakes(comparison, False)),
        ],
        mistaken=comparison.mistaken if comparison else "",
        unfolded=_UNFOLDED,
        parent_released=released_as(run.record.parent.sha256) if run.record else (),
        sets=SETS,
    )
