"""Training from cached activations is training through the whole network."""

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import full, make_windows, random_model, write_dataset

from spliceai_jax import (
    ARCHITECTURES,
    RECIPES,
    Pretrained,
    Recipe,
    SpliceAI,
    TransferResult,
    TransferSettings,
    transfer,
)
from spliceai_jax.architecture import PADDING
from spliceai_jax.errors import Interrupted, RunFolderError
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.record import read_record
from spliceai_jax.training.activation_cache import CachedWindows, bytes_needed, cache_activations
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.trainable import Trainable
from spliceai_jax.windows.packing import whole_windows


@pytest.mark.slow
@pytest.mark.parametrize("flanking_size", full(ARCHITECTURES, 80, 400))
def test_network_continues_from_activations(flanking_size):
    model = random_model(flanking_size)
    network = SpliceAI(ARCHITECTURES[flanking_size])
    bases = np.random.default_rng(0).integers(0, 5, (2, 60 + flanking_size), dtype=np.uint8)
    whole = network.apply(model.variables, bases)
    for end in (0, 1, 4, 5, len(network.architecture.units) + len(network.architecture.skips)):
        activations = network.apply(model.variables, bases, end, method=SpliceAI.activations)
        assert activations.x.nbytes + activations.skip_sum.nbytes == 2 * 4 * 32 * (120 + flanking_size)
        np.testing.assert_allclose(network.apply(model.variables, activations), whole, atol=1e-6)


def first_entry(recipe: Recipe) -> int:
    return Trainable.of(ARCHITECTURES[400], recipe).first_entry


def test_where_it_ends():
    assert first_entry(Recipe(unfreeze=2)) == 7
    assert first_entry(Recipe(unfreeze=4)) == 5
    assert first_entry(Recipe(unfreeze=0)) == 10  # the head alone
    assert first_entry(Recipe(unfreeze=8)) == 0
    assert first_entry(RECIPES["best"]) == 0
    assert first_entry(RECIPES["openspliceai-0.0.7"]) == 0  # its frozen BatchNorms see the batch


@pytest.mark.slow
@pytest.mark.parametrize(("unfreeze", "parallel"), full([(0, "jit"), (2, "jit"), (2, "pmap")], (2, "jit")))
def test_run_is_the_same(unfreeze, parallel, small_data, small_model, tmp_path, monkeypatch):
    """The split is derived from the training file, so that two sets share its arrays."""
    seen = set()
    evaluate = Engine.evaluate

    def watched(self, variables, batch):
        seen.add(type(batch.inputs).__name__)
        return evaluate(self, variables, batch)

    monkeypatch.setattr(Engine, "evaluate", watched)
    results = {}
    for limit in (0.0, None):
        settings = TransferSettings(
            train_dataset=small_data / "dataset_test.h5",
            test_dataset=small_data / "dataset_train.h5",
            pretrained_model=small_model,
            output_dir=tmp_path,
            project_name=f"limit_{limit}",
            unfreeze=unfreeze,
            epochs=2,
            batch_size=2,
            learning_rate=1e-3,
            activation_cache=limit,
            parallel=parallel,
        )
        results[limit] = transfer(settings)
    if parallel == "jit":
        assert seen == {"ndarray", "Activations"}
    computed, kept = results[0.0], results[None]
    np.testing.assert_allclose(kept.history.update_losses, computed.history.update_losses, rtol=1e-5)
    for name in ("validation", "test"):
        one, other = computed.history.untouched[name].metrics, kept.history.untouched[name].metrics
        assert other.loss == pytest.approx(one.loss, rel=1e-6)
        assert other.donor.auprc == pytest.approx(one.donor.auprc, abs=1e-5)
    frozen = "residual_units_0"
    for result in results.values():
        tuned = Pretrained.from_pt(result.best_model).variables["params"][frozen]["conv1"]["kernel"]
        np.testing.assert_array_equal(
            tuned, Pretrained.from_pt(small_model).variables["params"][frozen]["conv1"]["kernel"]
        )


def test_file_is_read_by_row(small_data, tmp_path):
    """A batch in another order gets its own rows."""
    from spliceai_jax.windows.hdf5 import read_windows

    windows = read_windows(small_data / "dataset_train.h5", 80).subset(np.array([6, 2, 9, 0, 5]))
    model, architecture = random_model(80), ARCHITECTURES[80]
    engine = Engine(architecture, Recipe())
    placed, done = engine.place(model.variables), []
    kept = cache_activations(engine, placed, windows, architecture, 2, 2, tmp_path, done.append)
    assert isinstance(kept, CachedWindows)
    assert sum(done) == 5
    assert not list(tmp_path.iterdir())  # unnamed
    assert os.fstat(kept.file.fileno()).st_size == bytes_needed([windows], architecture, 2)
    batch = kept.subset(np.array([4, 1, 2])).batch(whole_windows(np.array([2, 0]), 3, 5080))
    expected = SpliceAI(architecture).apply(model.variables, windows.bases[[9, 5]], 2, method=SpliceAI.activations)
    np.testing.assert_allclose(batch.inputs.x[:2], expected.x, atol=1e-5)
    assert windows.lengths[[2, 4]].tolist() == [5000, 1500]
    np.testing.assert_allclose(batch.inputs.skip_sum[0], expected.skip_sum[0], atol=1e-5)
    np.testing.assert_allclose(batch.inputs.skip_sum[1, :1500], expected.skip_sum[1, :1500], atol=1e-5)
    assert not batch.inputs.x[2].any()
    assert batch.multiplicity.tolist() == [[1], [1], [0]]
    assert (batch.labels[2] == 3).all()


@pytest.mark.slow
def test_a_disk_that_fills_meanwhile_is_one_clear_error(small_data, small_model, tmp_path, command_line):
    command = [
        Path(sys.executable).with_name("spliceai-jax"),
        "transfer",
        "-m",
        small_model,
        "-p",
        "full",
        "-n",
        1,
        "-u",
        1,
    ]
    command += ["-train", small_data / "dataset_train.h5", "-test", small_data / "dataset_test.h5", "-o", tmp_path]
    limited = ["bash", "-c", 'ulimit -f 3000; exec "$@"', "bash", *map(str, command)]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written (File too large)" in done.stderr
    assert "--activation-cache 0" in done.stderr
    again = command_line(*command[1:], "--resume", "--activation-cache", "0")
    assert again.returncode == 0


@pytest.mark.slow
def test_a_window_without_a_label(small_model, tmp_path, command_line):
    """Reading accepts it, and there is no skip sum to cache for it."""
    bases, labels = make_windows(4, seed=5)
    labels[1] = PADDING
    for role in ("train", "test"):
        write_dataset(tmp_path / f"{role}.h5", [(bases, labels), make_windows(4, seed=6 + len(role))])
    flags = ["-m", small_model, "-train", tmp_path / "train.h5", "-test", tmp_path / "test.h5", "-o", tmp_path]
    done = command_line("transfer", *flags, "-p", "empty", "-n", 1, "--unfreeze", 1, "--batch-size", 4)
    assert done.returncode == 0, done.stderr


Usage = namedtuple("Usage", "total used free")


def stopped_run(small_data, small_model, output, monkeypatch, **more) -> TransferSettings:
    """A run that was interrupted in its first epoch; the settings to go on with it."""
    settings = TransferSettings(
        train_dataset=small_data / "dataset_train.h5",
        test_dataset=small_data / "dataset_test.h5",
        pretrained_model=small_model,
        output_dir=output,
        recipe="openspliceai",
        epochs=1,
        batch_size=2,
        resume=True,
    )
    train = Engine.train

    def stopping(self, *arguments):
        signal.raise_signal(signal.SIGTERM)
        return train(self, *arguments)

    with monkeypatch.context() as context:
        context.setattr(Engine, "train", stopping)
        with pytest.raises(Interrupted):
            transfer(replace(settings, **more))
    return settings


def cached(result: TransferResult) -> list[bool]:
    return [session.activation_cache for session in read_record(RunFolder(result.folder)).sessions]


@pytest.mark.slow
def test_what_a_run_began_with_is_kept_to(small_data, small_model, tmp_path, monkeypatch):
    """Bit for bit, whatever room there is on the disk by then."""
    for name, limit in (("on", None), ("off", 0.0)):
        settings = stopped_run(small_data, small_model, tmp_path / name, monkeypatch, activation_cache=limit)
        result = transfer(settings)
        assert cached(result) == [limit is None] * 2


@pytest.mark.slow
def test_a_full_disk_does_not_change_a_run_in_silence(small_data, small_model, tmp_path, monkeypatch):
    settings = stopped_run(small_data, small_model, tmp_path, monkeypatch)
    with monkeypatch.context() as context:
        context.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 20 * 10**6))
        with pytest.raises(RunFolderError, match=r"make room, or give `activation_cache=0`, .* not to the bit"):
            transfer(settings)
    assert cached(transfer(replace(settings, activation_cache=0.0))) == [True, False]
