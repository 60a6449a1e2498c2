"""Several devices, and pmap, give what one device gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import several_devices

pytestmark = pytest.mark.full

STEPS = 3
"""Eleven windows, four a batch: the last batch has three, and four devices share it unevenly."""

ENGINES = """
import sys
from pathlib import Path

import jax
import numpy as np

from spliceai_jax import ARCHITECTURES, RECIPES, Pretrained, SpliceAI
from spliceai_jax.windows.batches import epoch_batches
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.packing import whole_windows
from spliceai_jax.training.engine import ENGINES
from spliceai_jax.training.step import init_state, make_train_step
from spliceai_jax.training.trainable import Trainable
model, data, recipe = Pretrained.from_pt(sys.argv[1]), Path(sys.argv[2]), RECIPES[sys.argv[3]]
architecture = ARCHITECTURES[80]
windows = read_windows(data / "dataset_train.h5", 80)
start = jax.device_get(init_state(model.variables, Trainable.of(architecture, recipe), recipe))
order = epoch_batches(windows.shards[windows.index], 6, "pooled", 1, 0)
batches = [windows.batch(whole_windows(positions, 6, 5080)) for positions in order]
assert [int(batch.multiplicity.sum()) for batch in batches] == [6, 5]
# A packed batch, a row for each device, and one of whole windows, which is filled up.
trained = [windows.training_batch(order[0], 6, architecture), batches[1]]
assert [batch.multiplicity.shape for batch in trained] == [(4, 5080), (6, 1)]
# What is dropped is drawn for each row: the same numbers only where the windows lie in the same rows.
on_one_device = trained if recipe.dropout else batches


def through(engine):
    state, losses = engine.place(start), []
    for batch in trained:
        state, loss = engine.train(state, batch, 1e-4)
        losses.append(float(loss))
    probabilities, _ = engine.evaluate(state.variables, batches[0])
    return losses, engine.fetch(state), np.asarray(probabilities)[:6]


step = jax.jit(make_train_step(SpliceAI(architecture), recipe))
state, losses = start, []
for batch in on_one_device:
    state, loss = step(state, batch, 1e-4)
    losses.append(float(loss))
probabilities = model.__class__(80, state.variables).predict(batches[0].inputs)
assert jax.device_count() == 4
for parallel in ("jit", "pmap"):
    got_losses, got, got_probabilities = through(ENGINES[parallel](architecture, recipe))
    np.testing.assert_allclose(got_losses, losses, rtol=1e-5)
    np.testing.assert_allclose(got_probabilities, probabilities, atol=5e-4)
    # The moments show the gradients themselves: AdamW's steps would be the same with gradients four times too large.
    paths = jax.tree_util.tree_leaves_with_path(state)
    for (path, wanted), found in zip(paths, jax.tree.leaves(got), strict=True):
        name, largest = jax.tree_util.keystr(path), np.abs(wanted).max()
        bias_before_batchnorm = "conv" in name and "bias" in name and "final" not in name
        if ("mu" in name or "nu" in name or "batch_stats" in name) and not bias_before_batchnorm:
            np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-3 * largest, err_msg=f"{parallel} {name}")
print("agree")
"""


@pytest.mark.parametrize("recipe", ["openspliceai", "openspliceai-0.0.7", "best"])
def test_engines_agree(recipe, small_data, small_model):
    """Losses, gradients and statistics of two steps, one on a partial batch, on four devices and on one."""
    done = subprocess.run(
        [sys.executable, "-c", ENGINES, small_model, small_data, recipe],
        env={**os.environ, **several_devices(4)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "agree\n", done.stderr


def run(installed, data: Path, model: Path, output: Path, devices: int, parallel: str) -> list[np.ndarray]:
    flags = ["-m", model, "-train", data / "dataset_train.h5", "-test", data / "dataset_test.h5", "-o", output]
    flags += ["-p", "x", "-n", 1, "--batch-size", 4, "--recipe", "openspliceai", "--parallel", parallel]
    done = installed("transfer", *flags, **several_devices(devices))
    assert done.returncode == 0, done.stderr
    assert f"{devices} x cpu ({parallel}, float32)" in done.stdout
    logs = output / "SpliceAI_x_80_0_rs42" / "0" / "LOG"
    return [np.loadtxt(logs / part / "loss_every_update.txt") for part in ("TRAIN", "VAL", "TEST")]


@pytest.mark.parametrize(("devices", "parallel"), [(2, "jit"), (4, "pmap")])
def test_command_on_several_devices(devices, parallel, installed, small_data, small_model, tmp_path):
    one = run(installed, small_data, small_model, tmp_path / "one", 1, "jit")
    assert len(one[0]) == STEPS
    many = run(installed, small_data, small_model, tmp_path / parallel, devices, parallel)
    for alone, together in zip(one, many, strict=True):
        np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_evaluate_on_several_devices(installed, small_data, small_model):
    flags = ["evaluate", "-m", small_model, "-test", small_data / "dataset_test.h5", "--json"]
    one, four = (json.loads(installed(*flags, **several_devices(n)).stdout) for n in (1, 4))
    assert one["windows"] == four["windows"] == 4
    assert one["donor"]["auprc"] == pytest.approx(four["donor"]["auprc"], abs=1e-6)
    assert one["loss"] == pytest.approx(four["loss"], rel=1e-6)
