"""How a run's tuned model compares with the untouched one: found once, at the run's end, and kept in its folder."""

from collections.abc import Mapping

import numpy as np

from spliceai_jax.data.windows import Windows
from spliceai_jax.display import Advance
from spliceai_jax.evaluation.bootstrap import Differences, GeneCounts, differences, genes_of
from spliceai_jax.evaluation.evaluate import evaluate_windows
from spliceai_jax.fine_tuning.plan import Plan
from spliceai_jax.network.model import Variables
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.runs.comparison import RunComparison, read_comparison
from spliceai_jax.runs.history import History, Split
from spliceai_jax.runs.tuned import tuned_fingerprint, tuned_model
from spliceai_jax.training.engine import Engine


def known_comparison(plan: Plan, history: History) -> RunComparison | None:
    """Return how the tuned model compares with the untouched one; None if that is not known yet."""
    tuned = tuned_fingerprint(plan.folder, history, plan.recipe)
    return read_comparison(plan.folder, plan.pretrained.fingerprint, tuned)


def compare_tuned(
    plan: Plan, history: History, engine: Engine, sets: Mapping[Split, Windows], after_batch: Advance
) -> RunComparison:
    """Send each set, and each of several test files, through both models, compare them, and write `comparison.json`.

    Arguments:
        plan: The plan of a finished run.
        history: What the run has measured.
        engine: Runs the network, on devices of this process.
        sets: The sets to compare on.
        after_batch: Called with the number of windows done in each batch, once for each model.
    """
    path = tuned_model(plan.folder, history, plan.recipe)
    tuned = Pretrained.load_weights(path)
    models = (plan.pretrained.variables, tuned.variables)
    found = RunComparison(
        plan.pretrained.fingerprint,
        tuned.sha256_at(path),
        {name: _compare(plan, engine, models, windows, after_batch) for name, windows in sets.items()},
        {path: _compare(plan, engine, models, part, after_batch) for path, part in _files(sets["test"]).items()},
    )
    plan.folder.write(plan.folder.comparison, found.to_json())
    return found


def windows_compared(sets: Mapping[Split, Windows]) -> int:
    """Return the number of windows that `compare_tuned` sends through each of the models."""
    return sum(map(len, (*sets.values(), *_files(sets["test"]).values())))


def _files(test: Windows) -> dict[str, Windows]:
    """Return the windows of each of several files, by its path; they may be windows of activations."""
    ends = np.cumsum([len(part) for part in test.parts]).tolist()
    return {
        part.absolute_files: test.subset(np.arange(end - len(part), end))
        for part, end in zip(test.parts, ends, strict=True)
    }


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
