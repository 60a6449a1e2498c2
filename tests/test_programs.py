"""A run says how many programs it compiles, and compiles no more."""

import logging
import re
from pathlib import Path

import jax
import pytest
from conftest import full, make_windows, random_model, write_dataset

from spliceai_jax import TransferSettings, transfer
from spliceai_jax.architecture import PADDING
from spliceai_jax.display import Display


class Facts(Display):
    """Keeps what a run says before it starts."""

    def facts(self, facts: dict[str, str]) -> None:
        self.said = facts


def of_short_genes(folder: Path) -> None:
    """Data sets of windows of different lengths, so that batches of six need different numbers of rows."""
    for seed, (name, count) in enumerate({"train": 63, "validation": 6, "test": 6}.items()):
        bases, labels = make_windows(count, seed)
        for window in range(count):
            length = 300 + 4700 * (window * 7 % count) // count
            bases[window, 5000 + length :] = 0
            labels[window, length:] = PADDING
        write_dataset(folder / f"dataset_{name}.h5", [(bases, labels)])


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "others"), full([("best", 1), ("openspliceai", 2)], ("best", 1)))
def test_a_run_compiles_no_more_programs_than_it_says(
    recipe: str, others: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    of_short_genes(tmp_path)
    model, display = tmp_path / "model.pt", Facts()
    random_model(80).to_pt(model)
    jax.clear_caches()  # of what other tests have compiled
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        transfer(
            TransferSettings(
                train_dataset=tmp_path / "dataset_train.h5",
                test_dataset=tmp_path / "dataset_test.h5",
                pretrained_model=model,
                output_dir=tmp_path,
                project_name="p",
                recipe=recipe,
                epochs=2,
                batch_size=6,
            ),
            display,
        )
    said = re.match(r"at most (\d+): training steps of (.*) rows(?:,| and) ", display.said["compiled programs"])
    assert said is not None
    compiled = re.findall(r"Finished XLA compilation of jit\((\w+_step)\)", caplog.text)
    numbers = said[2].split(" or ")
    assert int(said[1]) == len(numbers) + others
    assert 2 <= len(numbers) <= 3
    assert 2 <= compiled.count("train_step") <= len(numbers)
    assert sorted(set(compiled) - {"train_step"}) == sorted(
        {"best": ["eval_step"], "openspliceai": ["activations_step", "eval_step"]}[recipe]
    )
    assert len(compiled) <= int(said[1])


@pytest.mark.full
def test_teachers_are_evaluated_by_the_program_that_evaluates_the_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where training batches are smaller than those that are evaluated, as on small sets by `best`."""
    of_short_genes(tmp_path)
    random_model(80).to_pt(tmp_path / "model.pt")
    settings = TransferSettings(
        train_dataset=tmp_path / "dataset_train.h5",
        test_dataset=tmp_path / "dataset_test.h5",
        pretrained_model=tmp_path / "model.pt",
        output_dir=tmp_path,
        project_name="p",
        recipe="best",
        epochs=1,
        distill_weight=0.5,
    )
    jax.clear_caches()  # of what other tests have compiled
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        transfer(settings)
    compiled = re.findall(r"Finished XLA compilation of jit\((\w+_step)\)", caplog.text)
    assert compiled.count("eval_step") == 1
