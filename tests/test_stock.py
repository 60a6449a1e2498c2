"""The released OpenSpliceAI 0.0.7, run as a program in an environment of its own, takes the files that we write.

It ends with 0 when it dislikes a model file, so its outputs are looked at, never its exit code.
"""

import subprocess
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CommandLine, make_windows, random_model, write_dataset

from spliceai_jax.architecture import PADDING
from spliceai_jax.convert import read_pt
from spliceai_jax.network.pretrained import Pretrained

pytestmark = pytest.mark.full

RUN = Path("SpliceAI_demo_80_0_rs42") / "0"
LENGTH = 12_345
"""Bases of the sequence to predict on: three windows, the last one partly behind its end."""


@dataclass(frozen=True)
class Files:
    """What the two programs made of the same data.

    Attributes:
        folder: Holds the data sets.
        first: Our run from a random model, with the default recipe.
        after: OpenSpliceAI's run from the first run's best model.
        printed: What that one printed.
        same: Ours from there, with its arithmetic.
    """

    folder: Path
    first: Path
    after: Path
    printed: str
    same: Path

    @property
    def model(self) -> Path:
        """The file of ours that OpenSpliceAI is given."""
        return self.first / "models" / "model_best.pt"


@pytest.fixture(scope="module")
def files(stock: Path, installed: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """One epoch of each; every set is one shard of exactly one batch, since less makes OpenSpliceAI crash."""
    folder = tmp_path_factory.mktemp("both")
    for seed, role in enumerate(("train", "validation", "test")):
        write_dataset(folder / f"dataset_{role}.h5", [make_windows(36, 30 + seed)], compression="lzf")
    random_model(80, seed=3).to_pt(folder / "random.pt")
    data = {"-train": "dataset_train.h5", "-test": "dataset_test.h5"}

    def ours(name: str, model: Path, *options: object) -> Path:
        paths = [part for flag, file in data.items() for part in (flag, folder / file)]
        done = installed("transfer", "-m", model, *paths, "-o", folder / name, "-p", "demo", "--epochs", 1, *options)
        assert done.returncode == 0, done.stderr
        return folder / name / RUN

    first = ours("first", folder / "random.pt", "--recipe", "openspliceai")
    model = first / "models" / "model_best.pt"
    # It replaces "train" in the whole path by "validation": a relative one holds no other.
    (folder / "cwd").mkdir()
    flags = {
        **{"--epochs": 1, "--unfreeze": 1, "--flanking-size": 80, "--exp-num": 0, "--random-seed": 42},
        **{"--project-name": "demo", "--output-dir": "../stock", "--pretrained-model": model},
        **{"--train-dataset": "../dataset_train.h5", "--test-dataset": "../dataset_test.h5"},
    }
    done = subprocess.run(
        [stock, "transfer", *(str(part) for flag in flags.items() for part in flag)],
        cwd=folder / "cwd",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    same = ours("same", model, "--recipe", "openspliceai-0.0.7")
    return Files(folder, first, folder / "stock" / RUN, done.stdout + done.stderr, same)


def load(path: Path) -> OrderedDict[str, torch.Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True)


# -- prediction ------------------------------------------------------------------------------------------------


def test_it_predicts_with_our_model_what_we_predict(stock: Path, files: Files) -> None:
    random = np.random.default_rng(7)
    letters = random.choice(list("ACGT"), LENGTH)
    letters[3000:3050] = "N"
    sequence = "".join(letters)
    cwd = files.folder / "cwd"
    (cwd / "small.fa").write_text(f">one\n{sequence}\n")
    command = [stock, "predict", "-i", "small.fa", "-m", files.model, "-f", "80", "-o", "predicted"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    ours = Pretrained.from_pt(files.model).predict(["N" * 40 + sequence + "N" * 40])[0]
    # An acceptor's start is the base before the one scored.
    for column, name, ahead in ((1, "acceptor", 1), (2, "donor", 0)):
        bed = cwd / "predicted" / "SpliceAI_5000_80" / f"{name}_predictions.bed"
        assert bed.is_file(), done.stdout + done.stderr
        rows = [line.split("\t") for line in bed.read_text().splitlines()]
        positions = np.array([int(row[1]) for row in rows]) + ahead
        scores = np.array([float(row[4]) for row in rows])
        inside = positions < LENGTH - 40  # it goes on behind the end, with Ns
        assert inside.sum() > 10_000
        assert len(set(positions)) == len(positions)
        np.testing.assert_allclose(scores[inside], ours[positions[inside], column], rtol=0, atol=2e-6)
        # Wide apart between positions, so that agreement says something.
        assert np.ptp(ours[:, column]) > 0.1


# -- training --------------------------------------------------------------------------------------------------


def test_it_goes_on_training_from_our_model(files: Files) -> None:
    given, after = load(files.model), load(files.after / "models" / "model_0.pt")
    # These lines are all it says when it drops tensors and goes on from random ones.
    assert "Missing keys: []" in files.printed
    assert "Unexpected keys: []" in files.printed
    assert list(after) == list(given)
    assert {key: (t.dtype, t.shape) for key, t in after.items()} == {
        key: (t.dtype, t.shape) for key, t in given.items()
    }
    moving = [key for key in given if key.rsplit(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")]
    trained = [key for key in given if key.startswith("residual_units.3.") and key not in moving]
    for key in given:
        if key not in moving and key not in trained:
            assert torch.equal(after[key], given[key]), key
        elif key in trained:
            assert not torch.equal(after[key], given[key]), key
            assert (after[key] - given[key]).abs().max() < 2e-4, key  # a step of AdamW at 5e-5
        elif key.endswith("num_batches_tracked"):
            assert after[key] == given[key] + 1, key


def test_we_read_its_model_and_write_the_same_bits(files: Files, tmp_path) -> None:
    path = files.after / "models" / "model_best.pt"
    flanking_size, _ = read_pt(path)
    assert flanking_size == 80
    Pretrained.from_pt(path).to_pt(tmp_path / "again.pt")
    theirs, again = load(path), load(tmp_path / "again.pt")
    assert list(again) == list(theirs)
    assert all(torch.equal(again[key], theirs[key]) for key in theirs)


def test_our_recipe_of_its_arithmetic_takes_the_same_step(files: Files) -> None:
    theirs, ours = (load(folder / "models" / "model_0.pt") for folder in (files.after, files.same))
    trained = [key for key in theirs if key.startswith("residual_units.3.") and key.endswith(("weight", "bias"))]
    off = {key: (ours[key] - theirs[key]).abs() for key in theirs}
    # AdamW's first step is lr * g / (|g| + 1e-8): where a gradient is as small as its rounding error, any size of step
    # is right, and which elements these are depends on the processor. The bias of conv1 feeds a BatchNorm: its whole
    # gradient is rounding error.
    whole_step = 1.1e-4
    for key in theirs:
        assert off[key].max() < (whole_step if key in trained else 5e-7), key
    weights = torch.cat([off[key].flatten() for key in trained if key != "residual_units.3.conv1.bias"])
    assert (weights > 5e-7).float().mean() < 1e-3


def number(folder: Path, name: str) -> float:
    return float((folder / "LOG" / name).read_text())


def test_our_recipe_of_its_arithmetic_measures_the_same(files: Files) -> None:
    their_loss, our_loss = (number(folder, "TRAIN/loss_every_update.txt") for folder in (files.after, files.same))
    assert our_loss == pytest.approx(their_loss, rel=1e-5)
    for seed, split in ((31, "VAL"), (32, "TEST")):
        _, labels = make_windows(36, seed)
        # Padding is in its mean, with a loss of zero, and not in ours.
        share = np.mean(labels != PADDING)
        loss = f"{split}/loss_batch.txt"
        assert number(files.same, loss) * share == pytest.approx(number(files.after, loss), rel=1e-4)
        for kind in ("donor", "acceptor"):
            recall = f"{split}/{kind}_recall.txt"
            sites = (labels > 0).sum() // 2
            assert number(files.same, recall) == pytest.approx(number(files.after, recall), abs=2.5 / sites)


# -- the files -------------------------------------------------------------------------------------------------


def test_models_and_logs_are_the_same_files_of_the_same_form(files: Files) -> None:
    def names(folder: Path) -> set[str]:
        return {str(p.relative_to(folder)) for kind in ("models", "LOG") for p in (folder / kind).rglob("*")}

    assert len([name for name in names(files.after) if name.endswith(".txt")]) == 3 * 19
    for ours in (files.first, files.same):
        assert names(ours) == names(files.after) | {"models/model_best.json", "models/model_best.temperature.json"}
        for name in sorted(names(files.after)):
            if not name.endswith(".txt"):
                continue
            their_lines, our_lines = ((folder / name).read_text().splitlines() for folder in (files.after, ours))
            assert len(our_lines) == len(their_lines), name
            for their_line, our_line in zip(their_lines, our_lines, strict=True):
                their_numbers, our_numbers = their_line.split("\t"), our_line.split("\t")
                assert len(our_numbers) == len(their_numbers), name
                assert all(np.isfinite(float(number)) for number in our_numbers), name
