"""The page about a run: what was run, before and after, and where the model is most wrong."""

from spliceai_jax.report.run import Run, read_run
from spliceai_jax.report.writing import Scorer, is_current, write_report

__all__ = ["Run", "Scorer", "is_current", "read_run", "write_report"]
