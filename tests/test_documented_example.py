"""OpenSpliceAI's documented example, on real weights and real data, through the command line."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import SHARED, CommandLine, needs_shared
from sklearn.metrics import average_precision_score
from torch_twin import Twin

pytestmark = pytest.mark.full

EPOCHS = 4
"""Of the example's fifteen, which take two minutes; the first five follow the same learning rates."""


def scored_with_pytorch(model: Path, dataset: Path) -> dict[str, float]:
    """AUPRC on the labelled positions, of the PyTorch twin with these weights."""
    twin = Twin(400)
    twin.load_state_dict(torch.load(model, weights_only=True))
    scores, labels = [], []
    with h5py.File(dataset) as file:
        for shard in range(len(file) // 2):
            bases = file[f"X{shard}"][:, 4800:-4800] @ np.arange(1, 5, dtype=np.int8)
            truth = file[f"Y{shard}"][0]
            for start in range(0, len(bases), 12):
                predicted, true = twin.predict(bases[start : start + 12].astype(np.uint8)), truth[start : start + 12]
                labelled = true.any(-1)
                scores.append(predicted[labelled])
                labels.append(true[labelled])
    score, label = np.concatenate(scores), np.concatenate(labels)
    return {kind: average_precision_score(label[:, i], score[:, i]) for i, kind in ((2, "donor"), (1, "acceptor"))}


@needs_shared
def test_arabidopsis_from_the_human_model(installed: CommandLine, tmp_path: Path) -> None:
    data = SHARED / "data" / "arabidopsis"
    files = ["-m", SHARED / "models" / "model_400nt_rs10.pt", "-train", data / "dataset_train.h5"]
    files += ["-test", data / "dataset_test.h5", "-f", 400, "-o", tmp_path, "-p", "arabidopsis"]
    recipe = ["--unfreeze", 2, "--loss", "focal_loss", "--scheduler", "CosineAnnealingWarmRestarts"]
    done = installed("transfer", *files, *recipe, "--epochs", EPOCHS, "--patience", 3, "--early-stopping")
    assert done.returncode == 0, done.stderr
    untouched = next(line for line in done.stdout.splitlines() if "untouched" in line)
    assert untouched.split()[3:] == ["0.770", "0.723", "0.748", "0.703"]  # as OpenSpliceAI's own network has them
    assert "WORSE" not in done.stdout
    models = tmp_path / "SpliceAI_arabidopsis_400_0_rs42" / "0" / "models"
    assert sorted(path.stem for path in models.glob("*.pt")) == [*(f"model_{i}" for i in range(EPOCHS)), "model_best"]
    tuned = scored_with_pytorch(models / "model_best.pt", data / "dataset_test.h5")
    assert tuned["donor"] > 0.805
    assert tuned["acceptor"] > 0.793
