"""Training from the kept trunk is training through the whole network."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import random_model

from spliceai_jax import ARCHITECTURES, RECIPES, Pretrained, Recipe, SpliceAI, TransferSettings, transfer
from spliceai_jax.kept_trunk import KeptWindows, bytes_kept, trunk_end
from spliceai_jax.packing import whole_windows
from spliceai_jax.parallel import JitEngine


@pytest.mark.parametrize("flanking_size", ARCHITECTURES)
def test_network_goes_on_from_its_trunk(flanking_size):
    model = random_model(flanking_size)
    network = SpliceAI(ARCHITECTURES[flanking_size])
    bases = np.random.default_rng(0).integers(0, 5, (2, 60 + flanking_size), dtype=np.uint8)
    whole = network.apply(model.variables, bases)
    for end in (0, 1, 4, 5, len(network.architecture.units) + len(network.architecture.skips)):
        trunk = network.apply(model.variables, bases, end, method=SpliceAI.trunk)
        assert trunk.x.nbytes + trunk.total.nbytes == 2 * 4 * 32 * (120 + flanking_size)
        np.testing.assert_allclose(network.apply(model.variables, trunk), whole, atol=1e-6)


def test_where_it_ends():
    four_hundred = ARCHITECTURES[400]
    assert trunk_end(four_hundred, Recipe(unfreeze=2)) == 7
    assert trunk_end(four_hundred, Recipe(unfreeze=4)) == 5
    assert trunk_end(four_hundred, Recipe(unfreeze=0)) == 10  # the head alone
    assert trunk_end(four_hundred, Recipe(unfreeze=8)) == 0
    assert trunk_end(four_hundred, RECIPES["best"]) == 0
    assert trunk_end(four_hundred, RECIPES["openspliceai-0.0.7"]) == 0  # its frozen BatchNorms see the batch


@pytest.mark.parametrize("unfreeze", [0, 2])
@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_run_is_the_same(unfreeze, parallel, small_data, small_model, tmp_path, monkeypatch):
    """The split is derived from the training file, so that two sets share its arrays."""
    seen = set()
    evaluate = JitEngine.evaluate

    def watched(self, variables, batch):
        seen.add(type(batch.inputs).__name__)
        return evaluate(self, variables, batch)

    monkeypatch.setattr(JitEngine, "evaluate", watched)
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
            kept_trunk=limit,
            parallel=parallel,
        )
        results[limit] = transfer(settings)
    if parallel == "jit":
        assert seen == {"ndarray", "Trunk"}
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
    from spliceai_jax.dataset import read_windows
    from spliceai_jax.kept_trunk import keep_trunk
    from spliceai_jax.parallel import make_engine

    windows = read_windows(small_data / "dataset_train.h5", 80).subset(np.array([6, 2, 9, 0, 5]))
    model, architecture = random_model(80), ARCHITECTURES[80]
    engine = make_engine(architecture, Recipe(), "float32", "jit")
    placed, done = engine.place(model.variables), []
    kept = keep_trunk(engine, placed, windows, architecture, 2, 2, tmp_path, done.append)
    assert isinstance(kept, KeptWindows)
    assert sum(done) == 5
    assert not list(tmp_path.iterdir())  # unnamed
    assert os.fstat(kept.file.fileno()).st_size == bytes_kept(windows, architecture, 2)
    batch = kept.subset(np.array([4, 1, 2])).batch(whole_windows(np.array([2, 0]), 3, 5080))
    expected = SpliceAI(architecture).apply(model.variables, windows.bases[[9, 5]], 2, method=SpliceAI.trunk)
    np.testing.assert_allclose(batch.inputs.x[:2], expected.x, atol=1e-5)
    assert windows.lengths[[2, 4]].tolist() == [5000, 1500]
    np.testing.assert_allclose(batch.inputs.total[0], expected.total[0], atol=1e-5)
    np.testing.assert_allclose(batch.inputs.total[1, :1500], expected.total[1, :1500], atol=1e-5)
    assert not batch.inputs.x[2].any()
    assert batch.real.tolist() == [1, 1, 0]
    assert (batch.labels[2] == 3).all()


def test_a_disk_that_fills_meanwhile_is_one_clear_error(small_data, small_model, tmp_path):
    command = [Path(sys.executable).with_name("spliceai-jax"), "transfer", "-m", small_model, "-p", "full"]
    command += ["-train", small_data / "dataset_train.h5", "-test", small_data / "dataset_test.h5", "-o", tmp_path]
    limited = ["bash", "-c", 'ulimit -f 3000; exec "$@"', "bash", *map(str, command)]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written (File too large)" in done.stderr
    assert "--kept-trunk 0" in done.stderr
    again = subprocess.run([*map(str, command), "--resume", "--kept-trunk", "0", "-n", "10"], check=False)
    assert again.returncode == 0
