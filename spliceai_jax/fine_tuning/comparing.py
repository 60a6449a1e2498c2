"""How a run's best model compares with the untouched one: found once, at the end of the run, and kept in its folder."""

import hashlib
from collections.abc import Mapping

from spliceai_jax.data.windows import Windows
from spliceai_jax.display import Advance
from spliceai_jax.evaluation.bootstrap import Differences, GeneCounts, differences, genes_of
from spliceai_jax.evaluation.evaluate import evaluate_windows
from spliceai_jax.fine_tuning.plan import Plan
from spliceai_jax.network.model import Variables
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.runs.comparison import RunComparison, read_comparison
from spliceai_jax.runs.history import Split
from spliceai_jax.training.engine import Engine


def known_comparison(plan: Plan) -> RunComparison | None:
    """Return how the best model in the run's folder compares with the untouched one; None if that is not known yet."""
    return read_comparison(plan.folder, plan.pretrained.fingerprint, _fingerprint(plan))


def _fingerprint(plan: Plan) -> str:
    return hashlib.sha256(plan.folder.best_model.read_bytes()).hexdigest()


def compare_best(plan: Plan, engine: Engine, sets: Mapping[Split, Windows], after_batch: Advance) -> RunComparison:
    """Send each set through both models, compare them on it, and write `comparison.json`.

    Arguments:
        plan: The plan of a finished run.
        engine: Runs the network, on devices of this process.
        sets: The sets to compare on.
        after_batch: Called with the number of windows done in each batch, once for each model.
    """
    models = (plan.pretrained.variables, Pretrained.load_weights(plan.folder.best_model).variables)
    found = RunComparison(
        plan.pretrained.fingerprint,
        _fingerprint(plan),
        {name: _compare(plan, engine, models, windows, after_batch) for name, windows in sets.items()},
    )
    plan.folder.write(plan.folder.comparison, found.to_json())
    return found


def _compare(
    plan: Plan, engine: Engine, models: tuple[Variables, Variables], windows: Windows, after_batch: Advance
) -> Differences:
    genes = genes_of(windows)
    both = []
    for variables in models:
        counts = GeneCounts(genes)
        found, _ = evaluate_windows(
            engine, [engine.place(variables)], windows, plan.rows_evaluated, after_batch, counts
        )
        both.append(counts.resampled(found, plan.settings.random_seed))
    return differences(*both)
