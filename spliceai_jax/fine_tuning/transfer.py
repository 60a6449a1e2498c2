"""`transfer`: one run; or a run from each of several models, and one that learns from what these have become.

With several seeds it does that with each of them.

Models that were trained for different species find different sites, and the mean of their probabilities is better than
each alone. The last run makes one model of them (distillation: Hinton et al. 2015). It starts where the best of them
started: from the tuned model itself it would end worse (benchmarks/EXPERIMENTS.md).

Where there are windows without labels, the last run also learns what the tuned models say of these. That helps even if
there is one model only: the teacher sees the windows as they are, and its student with mutated bases and dropout (the
noisy student of Xie et al. 2020).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from spliceai_jax import processes
from spliceai_jax.display import Display
from spliceai_jax.errors import RunFolderError, SettingsError
from spliceai_jax.evaluation.metrics import AUPRC
from spliceai_jax.fine_tuning.data_sets import data_files, read_sets
from spliceai_jax.fine_tuning.ending import models_are_complete
from spliceai_jax.fine_tuning.genome import predict_genome
from spliceai_jax.fine_tuning.levers import read_unlabelled
from spliceai_jax.fine_tuning.outcome import TransferResult
from spliceai_jax.fine_tuning.plan import make_data_sets, start
from spliceai_jax.fine_tuning.run import fine_tune
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.network.model_files import models_to_average
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.processes import Cluster
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import SplitRecord

TEACHERS_SHARE = 0.5
"""The `distill_weight` of the run that learns from several, where there are no windows without labels."""

EPOCHS_WITHOUT_LABELS = 3
"""How many times as many epochs the last run takes, where there are windows without labels: each of its epochs draws
others of these, and it gains from more of them (benchmarks/EXPERIMENTS.md)."""


def transfer(settings: TransferSettings, display: Display | None = None) -> TransferResult:
    """Fine-tune a model, or several and make one of them, with one seed or several, as `spliceai-jax transfer` does.

    Everything that can be wrong with the input is found before the first step, and before anything is written.

    Arguments:
        settings: What to do.
        display: Shows the progress, as `ConsoleDisplay()` does; None shows nothing.

    Raises:
        SpliceAIError: One of its subclasses; the message says what was wrong and how to fix it.
        Interrupted: SIGTERM, SIGINT or SIGHUP came; everything needed to continue with `resume=True` was saved.
    """
    cluster = Cluster(settings.coordinator, settings.num_processes, settings.process_id)
    with processes.connected(cluster, (display or Display()).complain):
        shown = display if display and processes.leads() else Display()
        models = processes.all_or_none(lambda: _models(settings))
        result = (_with_seeds if settings.seeds > 1 else _with_one_seed)(settings, models, shown)
        if not processes.leads():
            return result
        with models_are_complete(RunFolder(result.folder)):
            return replace(result, predictions=predict_genome(settings, result, shown))


def _models(settings: TransferSettings) -> tuple[Path, ...]:
    models = tuple(dict.fromkeys(models_to_average(settings.pretrained_model)))
    if not models:
        raise SettingsError("`pretrained_model`: none is given; expected one or more")
    return models


def _with_seeds(settings: TransferSettings, models: tuple[Path, ...], display: Display) -> TransferResult:
    """Do what the settings say with each seed; return the result that is best by validation."""
    if split := data_files(settings).split:
        raise SettingsError(
            f"`seeds`: no validation set is beside {split[0]}, and each seed would draw another tenth of it; give "
            "`validation_dataset`"
        )
    seeds = range(settings.random_seed, settings.random_seed + settings.seeds)
    for seed in seeds:
        start(replace(settings, pretrained_model=models[0], random_seed=seed))
    results: dict[str, TransferResult] = {}
    for number, seed in enumerate(seeds, 1):
        display.line(f"seed {seed}, {number} of {settings.seeds}")
        results[f"seed {seed}"] = _with_one_seed(replace(settings, random_seed=seed, seeds=1), models, display)
    best = max(results, key=lambda name: _validation_auprc(results[name]))
    _show(results, display)
    display.line(
        f"On the validation set {best} has the highest mean AUPRC; its model is {results[best].best_model}. `predict` "
        "and `evaluate` also take the models of all seeds, whose mean is usually closer to the truth."
    )
    return replace(results[best], seeds=results)


def _with_one_seed(settings: TransferSettings, models: tuple[Path, ...], display: Display) -> TransferResult:
    if len(models) > 1 or _teaches_itself(settings):
        return _in_two_stages(settings, models, display)
    return fine_tune(replace(settings, pretrained_model=models[0]), display)


def _teaches_itself(settings: TransferSettings) -> bool:
    """Return whether there are windows without labels, and no teacher for them but the model once it is tuned."""
    return settings.unlabelled_dataset is not None and settings.distill_teacher is None


def _in_two_stages(settings: TransferSettings, models: tuple[Path, ...], display: Display) -> TransferResult:
    """Tune each model in a run of its own, and make one of them."""
    _check(settings, several=len(models) > 1)
    runs = _runs(settings, models, display)
    if len(runs) == 1 and not _teaches_itself(settings):
        return fine_tune(replace(settings, pretrained_model=models[0]), display)
    make_data_sets(replace(settings, pretrained_model=models[0]), display)
    if settings.unlabelled_dataset is not None:
        _check_unlabelled(settings, models[0], display)
    tuned: dict[str, TransferResult] = {}
    for number, (name, run) in enumerate(runs.items(), 1):
        display.line(f"model {number} of {len(runs)} to start from: {run.pretrained_model}")
        tuned[name] = fine_tune(run, display)
    best = max(tuned, key=lambda name: _validation_auprc(tuned[name]))
    if len(tuned) > 1:
        display.line(
            f"one model of all {len(tuned)}, from {runs[best].pretrained_model}, which led to the best of them"
        )
    epochs, share = settings.epochs, settings.distill_weight
    if settings.unlabelled_dataset is not None:
        says = "models say" if len(tuned) > 1 else "model says"
        display.line(f"the last run also learns what the tuned {says} of {settings.unlabelled_dataset}, without labels")
        epochs = EPOCHS_WITHOUT_LABELS * RunFolder(tuned[best].folder).read_identity().choices.epochs
    elif share is None:
        share = TEACHERS_SHARE
    one = replace(
        settings,
        pretrained_model=runs[best].pretrained_model,
        distill_teacher=tuple(result.best_model for result in tuned.values()),
        distill_weight=share,
        epochs=epochs,
    )
    result = fine_tune(one, display)
    made = "all of them" if len(tuned) > 1 else "with unlabelled"
    _show({**tuned, made: result}, display)
    alone, together = _validation_auprc(tuned[best]), _validation_auprc(result)
    if together < alone:
        display.line(
            f"On the validation set {best}, tuned alone, has the higher mean AUPRC, {alone:.4f}; the last model has "
            f"{together:.4f}. The result is therefore that of {best}: {tuned[best].best_model}."
        )
        result = tuned[best]
    return replace(result, starts=tuned)


def _check(settings: TransferSettings, several: bool) -> None:
    """Refuse what does not go with a last run that learns from the others.

    Arguments:
        settings: What the caller asked for.
        several: Whether several models are the reason for it, and not windows without labels.

    Raises:
        SettingsError: Something is given that does not.
    """
    reason = "several of `pretrained_model`" if several else "`unlabelled_dataset`"
    way_out = "give one" if several else "leave out `unlabelled_dataset`"
    given = {name: getattr(settings, name) for name in ("distill_teacher", "rehearsal_dataset")}
    if wrong := [name for name, value in given.items() if value]:
        raise SettingsError(f"`{wrong[0]}` does not go with {reason}; {way_out}, or leave out `{wrong[0]}`")
    if settings.distill_weight == 0 and settings.unlabelled_dataset is None:
        raise SettingsError(
            "`distill_weight=0`, but of several of `pretrained_model` one model is made by distillation; give a share "
            "of the loss above 0, or leave it out"
        )
    if not settings.effective_recipe.untouched_if_better:
        raise SettingsError(
            f"`recipe={settings.recipe_name!r}` does not go with {reason}, since it does not keep the better model; "
            f"give another recipe, or {way_out}"
        )
    if processes.several():
        raise SettingsError(f"{reason} and several processes do not go together; {way_out}, or start one process")


def _runs(settings: TransferSettings, models: tuple[Path, ...], display: Display) -> dict[str, TransferSettings]:
    """Return the settings of the run from each model, by the model's name, after a check of all models and folders.

    Raises:
        SpliceAIError: See `start` and `_check_last`; or models have different flanking sizes.
    """
    files, runs, seen = data_files(settings), dict[str, TransferSettings](), dict[str, Path]()
    _, first, folder = start(replace(settings, pretrained_model=models[0]))
    for path, name in zip(models, _names(models, settings.flanking_size), strict=True):
        run = replace(
            settings,
            pretrained_model=path,
            output_dir=Path(settings.output_dir) / f"starts_{settings.project_name}",
            project_name=name,
            genome_fasta=None,
            annotation_gff=None,
            test_sequences=None,
            validation_sequences=None,
            predict=False,
            train_dataset=files.train,
            validation_dataset=None if files.split else files.validation,
            test_dataset=files.test,
            unlabelled_dataset=None,
            distill_weight=None,
        )
        _, model, _ = start(run)
        if model.flanking_size != first.flanking_size:
            raise SettingsError(
                f"`pretrained_model`: {path} has a flanking size of {model.flanking_size} nt and {models[0]} one of "
                f"{first.flanking_size} nt; give models of one flanking size"
            )
        if (same := seen.setdefault(model.fingerprint, path)) != path:
            display.line(f"{path} holds the same weights as {same}, and is left out")
        else:
            runs[name] = run
    if len(runs) > 1 or _teaches_itself(settings):
        _check_last(folder, seen)
    return runs


def _names(models: tuple[Path, ...], flanking_size: int | None) -> list[str]:
    """Return the names of models: those of their files and, where several have one name, a part of their SHA-256."""
    names = [path.stem if path.suffix == ".pt" else path.name for path in models]
    return [
        name if names.count(name) == 1 else f"{name}_{Pretrained.load_weights(path, flanking_size).fingerprint[:8]}"
        for path, name in zip(models, names, strict=True)
    ]


def _check_unlabelled(settings: TransferSettings, model: Path, display: Display) -> None:
    """Refuse windows that the last run cannot use, which it would find only after hours.

    Raises:
        SpliceAIError: See `read_unlabelled`.
    """
    flanking_size = Pretrained.load_weights(model, settings.flanking_size).flanking_size
    read_unlabelled(settings, read_sets(settings, flanking_size, display).windows, display)


def _check_last(folder: RunFolder, models: Collection[str]) -> None:
    """Refuse a folder of the last run that holds another one, which would be found only after hours.

    Arguments:
        folder: The folder.
        models: The fingerprints of the models to start from.

    Raises:
        RunFolderError: It does, or it cannot be read.
    """
    if not folder.holds_run:
        return
    recorded = folder.read_identity()
    these = f"these {len(models)} models" if len(models) > 1 else "this model once it is tuned"
    if recorded.pretrained_model not in models or len(recorded.distill_teacher) != len(models):
        raise RunFolderError(
            f"`resume`: {folder.root} holds a run that was not made from {these}; give what it was made from, or "
            "another `project_name` or `exp_num`"
        )


def _validation_auprc(result: TransferResult) -> float:
    return result.best_measured["validation"].metrics.mean_auprc


def _show(results: Mapping[str, TransferResult], display: Display) -> None:
    """Show what models reach before and after they were tuned."""
    width = max(map(len, results))
    display.line(f"{'':{width}}  {'untouched, test':>17}  {'tuned, validation':>17}  {'tuned, test':>17}")
    display.line(f"{AUPRC.name:{width}}" + f"  {'donor':>8} {'acceptor':>8}" * 3)
    for name, tuned in results.items():
        measured = tuned.best_measured
        rows = tuned.history.untouched["test"], measured["validation"], measured["test"]
        display.line(f"{name:{width}}" + "".join(map(_cells, rows)))


def _cells(record: SplitRecord) -> str:
    return f"  {AUPRC.of(record.metrics.donor):8.3f} {AUPRC.of(record.metrics.acceptor):8.3f}"
