"""The report as a page, and how pages are made of templates; the frame and the style of all is `layout.html`."""

from datetime import datetime

import jinja2

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.report import verdict
from spliceai_jax.report.mistakes import show_mistakes
from spliceai_jax.report.plots import Plot
from spliceai_jax.report.sections import calibration_section, forgetting_section, genome_section
from spliceai_jax.report.test_set import Comparison
from spliceai_jax.report.verdict import find_warnings
from spliceai_jax.runs.card import released_as
from spliceai_jax.runs.history import SET_NAMES
from spliceai_jax.runs.record import Run

_UNFOLDED = 5
"""The misses, and the false calls, that are shown at once; the others unfold."""


def rendered(package: str, template: str, **facts: object) -> str:
    """Return a page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, "") for name in (package, "spliceai_jax.report")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**facts)


def render(run: Run, mark: str, comparison: Comparison | None, plots: dict[str, Plot], left_out: list[str]) -> str:
    """Return the whole page as HTML.

    Arguments:
        comparison: The models on the test set; None: they could not be scored.
        left_out: What had to be left out, in words.
    """
    before, after = verdict.before_and_after(run, comparison)
    changes = verdict.differences_on_test_set(run, comparison)
    mistakes = comparison.mistakes if comparison else ()
    return rendered(
        "spliceai_jax.report",
        "page.html",
        run=run,
        choices=run.identity.choices,
        mark=mark,
        now=datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
        verdict=verdict.reach_verdict(run, before, after, changes),
        warnings=find_warnings(run, before, after, changes),
        left_out=left_out,
        tested=after or before,
        changes=changes,
        kinds=[(kind, verdict.rows(kind, before, after, changes)) for kind in SITE_KINDS],
        plots=plots,
        test_files=verdict.rows_of_test_files(run),
        forgetting=forgetting_section(run, changes),
        mistakes=[
            ("Misses", "sites that the model does not call", show_mistakes(mistakes, missed=True)),
            (
                "False calls",
                "positions that it calls but that are no such sites",
                show_mistakes(mistakes, missed=False),
            ),
        ],
        calibration=calibration_section(run.history.ending.calibration) if run.history.ending else None,
        genome=genome_section(run.genome) if run.genome else None,
        mistaken=comparison.mistaken if comparison else "",
        unfolded=_UNFOLDED,
        parent_released=released_as(run.record.parent.sha256) if run.record else (),
        sets=SET_NAMES,
    )
