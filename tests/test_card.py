"""What a `.pt` file says of itself: cards, and `spliceai-jax inspect`."""

import hashlib
import json
import shlex
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from conftest import SHARED, needs_shared, random_model, run_arguments

from spliceai_jax import TransferSettings, evaluate
from spliceai_jax.commands.main import main, make_parser


def printed(capsys: pytest.CaptureFixture, *argv: object) -> str:
    assert main(["inspect", *map(str, argv)]) == 0
    return capsys.readouterr().out


def parsed(command: str) -> TransferSettings:
    """The settings that the command line makes of a command."""
    program, *argv = shlex.split(command)
    assert program == "spliceai-jax"
    arguments = vars(make_parser().parse_args(argv))
    names = {field.name for field in fields(TransferSettings)}
    return TransferSettings(**{name: value for name, value in arguments.items() if name in names})


@pytest.mark.slow
def test_the_card_says_where_the_model_comes_from(finished, small_data, small_model) -> None:
    card = json.loads((finished / "models" / "model_best.json").read_text())
    model = finished / "models" / "model_best.pt"
    assert card["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert card["parent"]["path"] == str(small_model)
    assert card["parent"]["sha256"] == hashlib.sha256(small_model.read_bytes()).hexdigest()
    for name, path in (("before", small_model), ("after", model)):
        measured = asdict(evaluate(path, small_data / "dataset_test.h5"))
        assert card[name]["test"]["donor"]["auprc"] == pytest.approx(measured["donor"]["auprc"], rel=1e-5)
        assert card[name]["test"]["loss"] == pytest.approx(measured["loss"], rel=1e-5)
    identity = json.loads((finished / "run.json").read_text())
    for name in ("train", "validation", "test"):
        assert card["datasets"][name]["fingerprint"] == identity[f"{name}_dataset"]
    assert card["datasets"]["train"]["donors"] == 11 * 6
    assert card["datasets"]["train"]["gt_share"] == 1.0  # as conftest makes them
    assert card["recipe"] == {"name": "openspliceai", **{key: identity[key] for key in card["recipe"] if key != "name"}}
    assert set(card["versions"]) >= {"spliceai-jax", "python", "jax", "flax", "torch"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"recipe": "best", "unfreeze_all": False, "early_stopping": False},
        {"unfreeze": 0, "activation_cache": 0.5, "early_stopping": True, "learning_rate": 3e-5, "flanking_size": 80},
        {
            "tensorboard": False,
            "resume": True,
            "parallel": "pmap",
            "random_seed": 7,
            "exp_num": 3,
            "validation_dataset": "v; rm.h5",
        },
    ],
)
def test_the_command_asks_for_the_same(small_data, small_model, tmp_path, more) -> None:
    asked = TransferSettings(**{**run_arguments(small_data, small_model, tmp_path / "o u t"), **more})
    again = parsed(asked.command())
    several = ("pretrained_model", "train_dataset", "validation_dataset", "test_dataset")  # on the command line a list
    given = {name: files[0] for name in several if (files := getattr(again, name))}
    again = replace(again, **given)
    assert {k: str(v) for k, v in asdict(again).items()} == {k: str(v) for k, v in asdict(asked).items()}


def test_the_command_of_several_files(tmp_path) -> None:
    given = {"train_dataset": ["a.h5", "b c.h5"], "test_dataset": ["d.h5", "e.h5"]}
    asked = TransferSettings(pretrained_model=["m.pt", "n.pt"], validation_dataset=["v.h5"], seeds=3, **given)
    assert parsed(asked.command()) == asked


def test_inspect_a_tuned_model(finished, small_model, capsys) -> None:
    out = printed(capsys, finished / "models" / "model_best.pt")
    assert "flanking size  80 nt" in out
    assert "parameters  93,251" in out
    assert "finite  yes" in out
    assert f"parent  {small_model}" in out
    assert "--epochs 3" in out
    shown = json.loads(printed(capsys, finished / "models" / "model_best.pt", "--json"))
    written = json.loads((finished / "models" / "model_best.json").read_text())
    assert written.pop("format_version") == 1
    assert shown["card"] == written
    assert json.loads(printed(capsys, finished / "models" / "model_0.pt", "--json"))["card"] is None


def test_inspect_weights_that_are_not_finite(tmp_path, capsys) -> None:
    model = random_model(80)
    model.variables["params"]["final_conv"]["bias"] = np.array([0, np.nan, 0], np.float32)
    model.to_pt(tmp_path / "model.pt")
    assert "finite  NO: final_conv.bias" in printed(capsys, tmp_path / "model.pt")
    assert json.loads(printed(capsys, tmp_path / "model.pt", "--json"))["not_finite"] == ["final_conv.bias"]


@pytest.mark.parametrize("content", ["{", "[]", '"card"', "{}"])
def test_a_card_that_is_none(small_model, tmp_path, capsys, content) -> None:
    (tmp_path / "model.pt").write_bytes(small_model.read_bytes())
    (tmp_path / "model.json").write_text(content)
    assert "model.json cannot be read as a card" in printed(capsys, tmp_path / "model.pt")


def test_inspect_refuses_what_is_no_model(tmp_path, capsys) -> None:
    assert main(["inspect", str(tmp_path / "none.pt")]) == 2
    assert capsys.readouterr().err.startswith(f"spliceai-jax: {tmp_path / 'none.pt'}: no such weights file")


@needs_shared
@pytest.mark.parametrize("size", [80, 400, 2000, 10000])
def test_released_models_are_known(size, capsys) -> None:
    out = printed(capsys, SHARED / "models" / f"model_{size}nt_rs10.pt")
    assert f"OpenSpliceAI's human (MANE), {size} nt, seed 10\n" in out


@needs_shared
def test_the_table_of_released_models_is_whole() -> None:
    from spliceai_jax.runs.card import released_as

    known = json.loads((SHARED / "reference" / "model_hashes.json").read_text())
    assert len(known) == 100
    for name, file in known.items():
        _, species, size, model = name.split("/")
        species = species.removeprefix("openspliceai-").replace("mane", "human (MANE)")
        seed = model.removesuffix(".pt").split("_rs")[1]
        assert f"{species}, {size.removesuffix('nt')} nt, seed {seed}" in released_as(file["sha256"])
    assert not released_as("0" * 64)
