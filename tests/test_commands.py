"""The command line: every flag reaches a setting, names become flags, and an unexpected error leaves its traceback."""

import argparse
import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from conftest import run_arguments

import spliceai_jax
from spliceai_jax import PredictSettings, TransferSettings, convert
from spliceai_jax.commands import predict, transfer
from spliceai_jax.commands.flags import in_flags
from spliceai_jax.commands.main import main, make_parser
from spliceai_jax.training.recipes import RECIPES, Recipe

OF_THE_COMMAND = {"help", "debug"}


PARSERS: dict[str, argparse.ArgumentParser] = next(
    action.choices for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)
)


@pytest.mark.parametrize(("command", "settings"), [("transfer", TransferSettings), ("predict", PredictSettings)])
def test_every_flag_is_a_setting_and_every_setting_has_a_flag(command, settings) -> None:
    flags = {action.dest for action in PARSERS[command]._actions} - OF_THE_COMMAND
    assert flags == {field.name for field in fields(settings)}


@pytest.mark.parametrize("command", [transfer, predict])
def test_a_flag_that_is_no_setting_is_not_dropped(command) -> None:
    with pytest.raises(TypeError, match="nonesuch"):
        command.run({"nonesuch": 1}, lambda text: text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`learning_rate` is -1", "--learning-rate is -1"),
        ("go on with `resume=True` and `activation_cache=0`", "go on with --resume and --activation-cache 0"),
        ("try `recipe='best'`, or `early_stopping=False`", "try --recipe best, or --no-early-stopping"),
        ("give `coordinator=HOST:PORT`", "give --coordinator HOST:PORT"),
        ("made by `spliceai-jax report x`; `unknown` and `unknown=1`", None),
        (
            "give `accept_motifs=True` to the command that makes them",
            "give --accept-motifs to the command that makes them",
        ),
        ("another `threshold` for `spliceai-jax predict`", "another --threshold for `spliceai-jax predict`"),
        ("another `threshold`", None),
    ],
)
def test_names_become_flags(text, shown) -> None:
    assert in_flags("transfer", PARSERS)(text) == (shown or text)


def test_an_unexpected_error_leaves_its_traceback(small_data, small_model, tmp_path, monkeypatch, capsys) -> None:
    """In the run's folder, named in the one line; the next one says where it is again."""

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("spliceai_jax.fine_tuning.loop.TrainingLoop._finish_epoch", broken)
    given = {**run_arguments(small_data, small_model, tmp_path), "tensorboard": False}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not False]
    assert main(["transfer", *flags]) == 2
    log = tmp_path / "SpliceAI_<i>small_80_0_rs42" / "0" / "error.log"
    assert capsys.readouterr().err == f"spliceai-jax: unexpected RuntimeError: a bug; its traceback is in {log}\n"
    assert "in broken" in log.read_text()


def test_a_file_in_place_of_a_runs_folder(small_model, capsys) -> None:
    assert main(["report", str(small_model)]) == 2
    assert "give the folder that a run of `spliceai-jax transfer` made" in capsys.readouterr().err


@pytest.mark.parametrize("models", ["-m a.pt b.pt", "-m a.pt -m b.pt"])
def test_a_second_model_is_refused(models, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["calibrate", "-o", "o", *models.split()])
    line = capsys.readouterr().err
    assert "-m: takes one model, and 2 are given: a.pt, b.pt" in line
    assert line.count("\n") == 1


def test_what_may_be_given_twice() -> None:
    """Flags of which the last one counts, and models; a parser remembers nothing from one line to the next."""
    line = "transfer -o o -p p -m a.pt --resume --resume -E --no-early-stopping -n 2 -n 3"
    given = line.split()
    parser = make_parser()
    parsed = parser.parse_args(given)
    assert (parsed.pretrained_model, parsed.epochs, parsed.early_stopping) == (["a.pt"], 3, False)
    assert parser.parse_args([*given[:-1], "4"]).epochs == 4
    assert parser.parse_args(["calibrate", "-o", "o", "-m", "a.pt", "-m", "a.pt"]).model == "a.pt"
    for command, name in (
        ("transfer -o o -p p", "pretrained_model"),
        ("predict -i x -o o", "models"),
        ("evaluate -test x", "model"),
        ("compare -test x", "models"),
    ):
        parsed = parser.parse_args([*command.split(), "-m", "a", "-m", "b", "c"])
        assert getattr(parsed, name) == ["a", "b", "c"]


def test_inspect_lists_each_model(small_model, tmp_path, capsys) -> None:
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(small_model.read_bytes())
    assert main(["inspect", str(small_model), str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert [line.split()[1] for line in text.splitlines() if line.strip().startswith("file")] == [
        *(str(path) for path in (small_model, tmp_path / "a.pt", tmp_path / "b.pt"))
    ]
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    assert [one["file"] for one in json.loads(capsys.readouterr().out)] == [
        str(tmp_path / "a.pt"),
        str(tmp_path / "b.pt"),
    ]


def test_an_unknown_flag_points_to_the_commands_help(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["report", "folder", "--nonesuch"])
    line = "spliceai-jax: unrecognized arguments: --nonesuch; see spliceai-jax report --help\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("from spliceai_jax.commands.main import make_parser; make_parser().format_help()", "jax torch numpy flax"),
        ("import spliceai_jax.windows.hdf5, spliceai_jax.genome.fasta", "torch flax optax orbax sklearn"),
    ],
    ids=["--help", "reading data"],
)
def test_what_does_not_wait_for_heavy_libraries(code, heavy) -> None:
    code = f"import sys; {code}; print(sorted(set({heavy!r}.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_only_the_converter_imports_torch() -> None:
    """README says that PyTorch serves `.pt` files alone."""
    # The converter lies at the top of the repository, or within the package where that is installed.
    package, converter = Path(spliceai_jax.__file__).parent, Path(convert.__file__).parent
    importing = re.compile(r"^\s*(import|from) torch\b", re.M)
    files = {*package.rglob("*.py"), *converter.glob("*.py")}
    assert {path.parent.name for path in files if importing.search(path.read_text())} == {"convert"}


@pytest.mark.parametrize("name", spliceai_jax.__all__)
def test_no_public_name_is_a_module_too(name: str) -> None:
    """Once a module is imported its package has it as an attribute, which would hide the public name."""
    assert importlib.util.find_spec(f"spliceai_jax.{name}") is None


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        ({}, "best"),
        ({"epochs": 3, "learning_rate": 0.01, "batch_size": 8, "weight_decay": 0.0}, "best"),
        ({"unfreeze": 1}, "openspliceai"),
        ({"unfreeze_all": True}, "openspliceai"),
        ({"loss": "focal_loss"}, "openspliceai"),
        ({"scheduler": "MultiStepLR"}, "openspliceai"),
        ({"early_stopping": False}, "openspliceai"),
        ({"patience": 3}, "openspliceai"),
        ({"unfreeze": 1, "recipe": "best"}, "best"),
        ({"recipe": "openspliceai"}, "openspliceai"),
    ],
)
def test_the_recipe_that_is_not_named(given: dict[str, object], recipe: str) -> None:
    """Flags that say how OpenSpliceAI trains ask for its recipe, whose other values they were chosen for."""
    settings = TransferSettings(train_dataset="a", test_dataset="b", pretrained_model="c", **given)
    assert settings.recipe_name == recipe
    ours = settings.effective_recipe
    for field in fields(Recipe):
        expected = getattr(RECIPES[recipe], field.name)
        if recipe == "best" and field.name == "unfreeze_all" and "unfreeze" in given:
            expected = False
        assert getattr(ours, field.name) == given.get(field.name, expected), field.name


def test_the_help_is_never_coloured() -> None:
    """From Python 3.14 on argparse colours it where FORCE_COLOR says so."""
    assert make_parser().color is False
