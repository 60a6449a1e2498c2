"""`.pt` files to and from the network's variables: nothing changes on the way, and nothing wrong gets in."""

import hashlib
import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
from conftest import SHARED, CommandLine, needs_shared, random_model
from flax.traverse_util import flatten_dict
from hypothesis import given
from hypothesis import strategies as st
from torch_twin import Twin

from spliceai_jax.architecture import ARCHITECTURES, PADDING
from spliceai_jax.commands.main import main
from spliceai_jax.convert import pt_bytes, read_pt, tensor_table
from spliceai_jax.errors import SettingsError, SpliceAIWarning, WeightsError
from spliceai_jax.network.model import SpliceAI
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.network.temperature import FittedOn, TemperatureFile
from spliceai_jax.training.recipes import RECIPES, Recipe
from spliceai_jax.training.step import Batch, init_state, make_train_step
from spliceai_jax.training.trainable import Trainable

State = dict[str, torch.Tensor]
DENORMAL = np.float32(1e-41)


def load(source: Path | bytes) -> State:
    return torch.load(
        io.BytesIO(source) if isinstance(source, bytes) else source, map_location="cpu", weights_only=True
    )


def assert_bit_identical(ours: State, theirs: State) -> None:
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype, key
        assert ours[key].shape == value.shape, key
        assert ours[key].numpy().tobytes() == value.numpy().tobytes(), key


def assert_same_variables(ours: Any, theirs: Any) -> None:
    one, other = flatten_dict(jax.device_get(ours)), flatten_dict(jax.device_get(theirs))
    assert one.keys() == other.keys()
    for path, value in other.items():
        assert np.asarray(one[path]).dtype == np.asarray(value).dtype, path
        assert np.asarray(one[path]).tobytes() == np.asarray(value).tobytes(), path


@pytest.fixture
def state(small_model: Path) -> State:
    return load(small_model)


# -- round trips -------------------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("flanking_size", ARCHITECTURES)
def test_released_files_survive(flanking_size: int) -> None:
    path = SHARED / "models" / f"model_{flanking_size}nt_rs10.pt"
    size, variables = read_pt(path)
    assert size == flanking_size
    assert_bit_identical(load(pt_bytes(size, variables)), load(path))


@pytest.mark.parametrize("flanking_size", ARCHITECTURES)
def test_models_of_every_size_survive(flanking_size: int, tmp_path: Path) -> None:
    twin = Twin(flanking_size)  # PyTorch's own initialisation, keys, order, shapes and types
    path = tmp_path / "model.pt"
    torch.save(twin.state_dict(), path)
    size, variables = read_pt(path)
    assert size == flanking_size
    written = pt_bytes(size, variables)
    assert_bit_identical(load(written), twin.state_dict())
    assert pt_bytes(size, variables) == written
    twin.load_state_dict(load(written), strict=True)
    parameters = sum(value.size for value in jax.tree.leaves(variables["params"]))
    assert parameters == {80: 93_251, 400: 185_187, 2000: 359_043, 10000: 696_739}[flanking_size]


def test_variables_survive(tmp_path: Path) -> None:
    model = random_model(400, seed=2)
    model.to_pt(tmp_path / "model.pt")
    assert_same_variables(Pretrained.from_pt(tmp_path / "model.pt").variables, model.variables)


def test_read_variables_own_their_memory_and_have_the_networks_types(small_model: Path) -> None:
    _, variables = read_pt(small_model)
    for path, value in flatten_dict(variables).items():
        assert value.dtype == (np.int32 if path[-1] == "num_batches_tracked" else np.float32)
        assert value.flags.writeable
        assert value.flags.c_contiguous


@given(
    seed=st.integers(0, 2**32 - 1),
    patterns=st.lists(st.integers(0, 2**32 - 1), max_size=20),
    counts=st.lists(st.integers(0, 2**31 - 1), min_size=8, max_size=8),
)
def test_any_finite_bits_survive(
    seed: int, patterns: list[int], counts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    random = np.random.default_rng(seed)
    special = np.array([0x80000000, 0x00000001, 0x807FFFFF, 0x7F7FFFFF, 0xFF7FFFFF, *patterns], np.uint32)
    state, left = {}, list(counts)
    for tensor in tensor_table(ARCHITECTURES[80]):
        if tensor.is_count:
            state[tensor.key] = torch.tensor(left.pop())
            continue
        bits = random.integers(0, 2**32, tensor.shape, dtype=np.uint32)
        bits.ravel()[random.integers(0, bits.size, special.size)] = special
        bits[(bits & 0x7F800000) == 0x7F800000] &= 0xBFFFFFFF  # infinity and NaN are refused: lower their exponent
        if tensor.key.endswith("running_var"):
            bits &= 0x7FFFFFFF  # so are variances below zero
        state[tensor.key] = torch.from_numpy(bits.view(np.float32))
    path = tmp_path_factory.getbasetemp() / "bits.pt"
    torch.save(state, path)
    assert_bit_identical(load(pt_bytes(*read_pt(path))), state)


def test_orbax_survives(tmp_path: Path, small_model: Path) -> None:
    model = Pretrained.from_pt(small_model)
    model.to_orbax(tmp_path / "checkpoint")
    again = Pretrained.from_orbax(tmp_path / "checkpoint")
    assert again.flanking_size == 80
    assert_same_variables(again.variables, model.variables)
    with pytest.raises(WeightsError, match=r"elsewhere.*cannot be read as an orbax checkpoint"):
        Pretrained.from_orbax(tmp_path / "elsewhere")


@pytest.mark.slow
def test_convert_both_ways_gives_the_same_bytes_in_another_process(
    tmp_path: Path, small_model: Path, command_line: CommandLine, installed: CommandLine
) -> None:
    checkpoint, again = tmp_path / "checkpoint", tmp_path / "again.pt"
    for run, source, target in ((command_line, small_model, checkpoint), (installed, checkpoint, again)):
        result = run("convert", source, target)
        assert result.returncode == 0, result.stderr
        assert "80-nt model" in result.stdout
    assert again.read_bytes() == pt_bytes(*read_pt(small_model))
    assert_bit_identical(load(again), load(small_model))


def test_convert_does_not_overwrite(tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Pretrained.from_pt(small_model)
    checkpoint, other = tmp_path / "checkpoint", tmp_path / "other.pt"
    model.to_orbax(checkpoint)
    other.write_bytes(b"precious")
    (tmp_path / "folder").mkdir()
    pairs = ((checkpoint, other), (checkpoint, tmp_path / "folder"), (small_model, checkpoint), (small_model, other))
    for source, target in pairs:
        assert main(["convert", str(source), str(target)]) == 2
        printed = capsys.readouterr()
        assert f"{target}: exists already; give a name that does not" in printed.err
        assert printed.out == ""
    assert other.read_bytes() == b"precious"
    assert_same_variables(Pretrained.from_orbax(checkpoint).variables, model.variables)


def test_convert_brings_what_lies_beside_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = random_model(80)
    source, checkpoint, again = tmp_path / "a" / "best.pt", tmp_path / "b" / "of v1.2", tmp_path / "c" / "again.pt"
    source.parent.mkdir()
    model.to_pt(source)
    fitted_on = FittedOn("/validation.h5", "", 3, 2, 1)
    of_model = TemperatureFile((1.5, 2.0, 0.5), model.fingerprint, fitted_on).render()
    (source.parent / "best.temperature.json").write_text(of_model)
    (source.parent / "best.json").write_text('{"sha256": "of something else"}')
    assert main(["convert", str(source), "."]) == 2
    assert "spliceai-jax: .: exists already" in capsys.readouterr().err
    for one, other in ((source, checkpoint), (checkpoint, again)):
        assert main(["convert", str(one), str(other)]) == 0
        assert Pretrained.load(other, calibrated=True).temperature == (1.5, 2.0, 0.5)
    assert {path.name for path in tmp_path.glob("[bc]/*")} == {
        "of v1.2",
        "of v1.2.temperature.json",
        "again.pt",
        "again.temperature.json",
    }
    card = f'{{"sha256": "{model.fingerprint}"}}'
    (source.parent / "best.json").write_text(card)
    assert main(["convert", str(source), str(tmp_path / "d")]) == 0
    assert (tmp_path / "d.json").read_text() == card
    again.unlink()
    assert main(["convert", str(checkpoint), str(again)]) == 2
    assert "again.temperature.json: exists already" in capsys.readouterr().err
    assert not again.exists()


def test_convert_leaves_what_names_another_programs_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, beside = tmp_path / "theirs.pt", tmp_path / "theirs.temperature.json"
    torch.save(load(random_model(80).pt_bytes()), source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    beside.write_text(TemperatureFile((1.5, 2.0, 0.5), digest, FittedOn("/validation.h5", "", 3, 2, 1)).render())
    assert main(["convert", str(source), str(tmp_path / "ours")]) == 0
    assert f"{beside}: is left behind; it names {source}" in capsys.readouterr().err
    assert not (tmp_path / "ours.temperature.json").exists()


# -- the forms in which weights are found ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": state},
        lambda state: {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: dict(reversed(state.items())),
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
        lambda state: {"model": {f"_orig_mod.{key}": value for key, value in state.items()}, "epoch": 3},
        lambda state: {f"model.{key}": value for key, value in state.items()},
        lambda state: {f"module._orig_mod.model.{key}": value for key, value in state.items()},
    ],
    ids=[
        "plain",
        "DataParallel",
        "under state_dict",
        "DataParallel under state_dict",
        "another order",
        "under model_state_dict",
        "torch.compile under model",
        "within another module",
        "all prefixes",
    ],
)
def test_loads(wrapped: Callable[[State], Any], state: State, small_model: Path, tmp_path: Path) -> None:
    torch.save(wrapped(state), tmp_path / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        size, variables = read_pt(tmp_path / "model.pt")
    assert size == 80
    assert_same_variables(variables, read_pt(small_model)[1])


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_loads_other_pickle_protocols(protocol: int, state: State, small_model: Path, tmp_path: Path) -> None:
    """PyTorch's own loader of weights alone does not know 4 and 5."""
    torch.save({"state_dict": state, "epoch": 3, "lr": [1e-3]}, tmp_path / "model.pt", pickle_protocol=protocol)
    assert_same_variables(read_pt(tmp_path / "model.pt")[1], read_pt(small_model)[1])


def test_loads_what_pytorch_wrote_before_its_zip_files(state: State, small_model: Path, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    assert_same_variables(read_pt(tmp_path / "model.pt")[1], read_pt(small_model)[1])


def test_keys_under_two_prefixes_are_refused(state: State, tmp_path: Path) -> None:
    torch.save({**state, "model.final_conv.bias": state["final_conv.bias"]}, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"'final_conv\.bias' is there twice, under different prefixes; leave one"):
        read_pt(tmp_path / "model.pt")


def test_keys_too_many_are_named_before_those_missing(state: State, tmp_path: Path) -> None:
    state["extra.weight"] = state.pop("final_conv.bias")
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"model: extra\.weight is unexpected; final_conv\.bias is missing$"):
        read_pt(tmp_path / "model.pt")


# -- calibrated models ---------------------------------------------------------------------------------------------


def artifact(state: State, **changed: object) -> dict[str, object]:
    """A calibrated model as we write it."""
    names = ["neither", "acceptor", "donor"]
    return {
        "format_version": 1,
        "flanking_size": 80,
        "class_names": names,
        "temperature": torch.tensor([1.1, 1.2, 1.3]),
        "state_dict": state,
        **changed,
    }


def flat(state: State) -> dict[str, torch.Tensor]:
    """The state dict of OpenSpliceAI's calibrated object."""
    return {"temperature": torch.tensor([1.1, 1.2, 1.3]), **{f"model.{key}": value for key, value in state.items()}}


CALIBRATED: dict[str, Callable[[State], object]] = {
    "ours": artifact,
    "a list": lambda state: artifact(state, temperature=[1.1, 1.2, 1.3]),
    "names in capitals": lambda state: artifact(state, class_names=("Neither", "Acceptor", "Donor")),
    "no more than it needs": lambda state: {"temperature": (1.1, 1.2, 1.3), "state_dict": state},
    "a state dict": flat,
}


@pytest.mark.parametrize("form", CALIBRATED)
def test_a_calibrated_model_loads_with_its_temperature(form, state, small_model, tmp_path) -> None:
    torch.save(CALIBRATED[form](state), tmp_path / "model.pt")
    said = r"model\.pt: a calibrated model; its temperature is applied: neither 1.1, acceptor 1.2, donor 1.3$"
    with pytest.warns(SpliceAIWarning, match=said) as warned:
        model = Pretrained.from_pt(tmp_path / "model.pt")
    assert len(warned) == 1
    np.testing.assert_allclose(model.temperature, [1.1, 1.2, 1.3], rtol=1e-6)
    assert_same_variables(model.variables, read_pt(small_model)[1])
    assert model.fingerprint == Pretrained.from_pt(small_model).fingerprint
    with pytest.warns(SpliceAIWarning, match="its temperature is left out here"):
        assert Pretrained.load_weights(tmp_path / "model.pt").temperature is None


def test_a_calibrated_model_survives(tmp_path, small_model) -> None:
    model = Pretrained(80, read_pt(small_model)[1], (0.5, 0.75, 1.25))
    model.to_calibrated_pt(tmp_path / "model.pt")
    with pytest.warns(SpliceAIWarning):
        again = Pretrained.from_pt(tmp_path / "model.pt")
    assert again.temperature == model.temperature
    assert_same_variables(again.variables, model.variables)
    model.to_pt(tmp_path / "plain.pt")
    assert (tmp_path / "plain.pt").read_bytes() == pt_bytes(80, model.variables)
    with pytest.raises(SettingsError, match="no `temperature` to write"):
        Pretrained.from_pt(small_model).to_calibrated_pt(tmp_path / "none.pt")
    assert not (tmp_path / "none.pt").exists()


BROKEN: dict[str, tuple[dict[str, object], str]] = {
    "zero": ({"temperature": [1.0, 0.0, 1.0]}, "the temperature is [1.0, 0.0, 1.0]; expected three numbers from 0.01"),
    "negative": ({"temperature": torch.tensor([1.0, -1.0, 1.0])}, "the temperature is [1.0, -1.0, 1.0]"),
    "nan": ({"temperature": torch.tensor([1.0, 1.0, np.nan])}, "the temperature is [1.0, 1.0, nan]"),
    "infinite": ({"temperature": [np.inf, 1.0, 1.0]}, "the temperature is [inf, 1.0, 1.0]"),
    "two": ({"temperature": [1.0, 1.0]}, "the temperature is [1.0, 1.0]"),
    "a matrix": ({"temperature": torch.ones(3, 3)}, "the temperature is [1.0"),
    "words": ({"temperature": "warm"}, "the temperature is ['warm']"),
    "words in a list": ({"temperature": ["1", "1", "1"]}, "the temperature is ['1', '1', '1']"),
    "another size": ({"flanking_size": 400}, "claims a flanking size of 400, but its weights have one of 80"),
    "another order": ({"class_names": ["neither", "donor", "acceptor"]}, "expected neither, acceptor, donor, in this"),
    "no names": ({"class_names": 3}, "a calibrated model of the classes 3"),
    "a later form": ({"format_version": 2}, "format version 2; this spliceai-jax knows 1"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_calibrated_model_is_one_line(fault, state, tmp_path, capsys) -> None:
    changed, said = BROKEN[fault]
    torch.save(artifact(state, **changed), tmp_path / "model.pt")
    assert main(["inspect", str(tmp_path / "model.pt")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith(f"spliceai-jax: {tmp_path / 'model.pt'}: ")
    assert said in line


def test_inspect_shows_the_temperature(state, tmp_path, capsys) -> None:
    torch.save(artifact(state), tmp_path / "model.pt")
    assert main(["inspect", str(tmp_path / "model.pt")]) == 0
    assert "temperature  neither 1.1, acceptor 1.2, donor 1.3\n" in capsys.readouterr().out


# -- refusals ----------------------------------------------------------------------------------------------------


def spoiled(value: torch.Tensor, by: float) -> torch.Tensor:
    value = value.clone()
    value.view(-1)[-1] = by
    return value


FAULTS: dict[str, tuple[Callable[[State], object], str]] = {
    "missing": (lambda s: s.pop("final_conv.bias"), "final_conv.bias is missing"),
    "unexpected": (lambda s: s.update(extra=torch.zeros(1)), "extra is unexpected"),
    "misshapen": (
        lambda s: s.update({"initial_conv.weight": torch.zeros(32, 4, 3)}),
        "initial_conv.weight has shape (32, 4, 3), expected (32, 4, 1)",
    ),
    "transposed": (
        lambda s: s.update({"initial_conv.weight": torch.zeros(1, 4, 32)}),
        "initial_conv.weight has shape (1, 4, 32), expected (32, 4, 1)",
    ),
    "float64": (
        lambda s: s.update({"final_conv.weight": s["final_conv.weight"].double()}),
        "final_conv.weight is torch.float64, expected torch.float32",
    ),
    "float16": (
        lambda s: s.update({"residual_units.0.conv1.bias": s["residual_units.0.conv1.bias"].half()}),
        "residual_units.0.conv1.bias is torch.float16, expected torch.float32",
    ),
    "float count": (
        lambda s: s.update({"residual_units.0.batchnorm1.num_batches_tracked": torch.tensor(3.0)}),
        "residual_units.0.batchnorm1.num_batches_tracked is torch.float32, expected torch.int64",
    ),
    "negative count": (
        lambda s: s.update({"residual_units.0.batchnorm2.num_batches_tracked": torch.tensor(-1)}),
        "residual_units.0.batchnorm2.num_batches_tracked is -1",
    ),
    "huge count": (
        lambda s: s.update({"residual_units.1.batchnorm1.num_batches_tracked": torch.tensor(2**31)}),
        f"residual_units.1.batchnorm1.num_batches_tracked is {2**31}",
    ),
    "nan": (
        lambda s: s.update({"residual_units.3.conv2.weight": spoiled(s["residual_units.3.conv2.weight"], np.nan)}),
        "residual_units.3.conv2.weight holds values that are infinite or not a number",
    ),
    "infinite": (
        lambda s: s.update({"residual_units.2.batchnorm1.running_var": torch.full((32,), -np.inf)}),
        "residual_units.2.batchnorm1.running_var holds values that are infinite or not a number",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_refused(fault: str, state: State, tmp_path: Path) -> None:
    change, message = FAULTS[fault]
    change(state)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(WeightsError) as refusal:
        read_pt(tmp_path / "model.pt")
    text = str(refusal.value)
    assert text.startswith(f"{tmp_path / 'model.pt'}: not the weights of OpenSpliceAI's 80-nt model: {message}")
    assert ";" not in text, "nothing else is found fault with"


def test_all_faults_are_listed_at_once(state: State, tmp_path: Path) -> None:
    for name, (change, _) in FAULTS.items():
        if name != "transposed":  # of the same tensor as "misshapen"
            change(state)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(WeightsError) as refusal:
        read_pt(tmp_path / "model.pt", 80)
    for name, (_, message) in FAULTS.items():
        assert (message in str(refusal.value)) == (name != "transposed")


def test_a_long_list_of_faults_is_cut_and_counted(state: State, tmp_path: Path) -> None:
    torch.save({f"net.{key}": value for key, value in state.items()}, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"net.initial_conv.weight is unexpected; .*; and \d+ more$"):
        read_pt(tmp_path / "model.pt", 80)


@pytest.mark.parametrize("wanted", [400, 2000, 10000])
def test_weights_of_another_size_are_named(wanted: int, small_model: Path) -> None:
    with pytest.raises(WeightsError, match=rf"these weights have a flanking size of 80, not {wanted}"):
        read_pt(small_model, wanted)
    assert read_pt(small_model, 80)[0] == 80
    with pytest.raises(WeightsError, match="flanking size 81 is none of 80, 400, 2000, 10000"):
        read_pt(small_model, 81)


class Payload:
    """Unpickles by making a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable, tuple[str, str]]:
        return open, (str(self.target), "w")


@pytest.mark.parametrize("form", ["whole file", "in the state dict", "beside the state dict", "plain pickle"])
def test_code_in_a_pickle_does_not_run(form: str, state: State, tmp_path: Path) -> None:
    path, target = tmp_path / "model.pt", tmp_path / "ran"
    payload = Payload(target)
    content = {
        "whole file": payload,
        "in the state dict": {**state, "extra": payload},
        "beside the state dict": {"state_dict": state, "extra": payload},
        "plain pickle": {"initial_conv.weight": payload},
    }[form]
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(WeightsError, match="was not loaded, since it could run code"):
        read_pt(path)
    assert not target.exists()
    if form == "plain pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert target.exists(), "the pickle was harmless, and the test too"


def test_files_that_are_no_weights(state: State, small_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(WeightsError, match=r"model\.pt: no such weights file"):
        read_pt(path)
    with pytest.raises(WeightsError, match=r"a folder, expected a \.pt file"):
        read_pt(tmp_path)
    whole = small_model.read_bytes()
    text = b"not a model\n" * 40
    for content in (b"", whole[:10], whole[: len(whole) // 2], whole[:-1], whole[1:], text, b"\x89HDF\r\n" + text):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.pt: (cannot be read|holds something other)"):
            read_pt(path)
    for content in (torch.zeros(3), {}, [state], {"state_dict": {}}, {"state_dict": 3}, {"a": 1}, None, 7):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"model\.pt: .*expected a state dict"):
            read_pt(path)


def test_foreign_orbax_checkpoint_is_refused(tmp_path: Path, small_model: Path) -> None:
    _, variables = read_pt(small_model)
    variables["params"]["final_conv"]["bias"] = np.zeros(4, np.float32)
    Pretrained(80, variables).to_orbax(tmp_path / "checkpoint")
    with pytest.raises(WeightsError, match=r"checkpoint: holds \d+ arrays that are not the variables of any"):
        Pretrained.from_orbax(tmp_path / "checkpoint")


# -- through training ----------------------------------------------------------------------------------------------


def train_steps(model: Pretrained, recipe: Recipe, steps: int) -> State:
    """The state dict after some steps on random windows."""
    architecture = ARCHITECTURES[model.flanking_size]
    random = np.random.default_rng(0)
    training = init_state(model.variables, Trainable.of(architecture, recipe), recipe)
    step = jax.jit(make_train_step(SpliceAI(architecture), recipe))
    for _ in range(steps):
        bases = random.integers(0, 5, (2, 100 + model.flanking_size), dtype=np.uint8)
        labels = random.integers(0, PADDING + 1, (2, 100), dtype=np.uint8)
        training, _ = step(training, Batch(bases, labels, np.ones((2, 1), np.float32)), 1e-3)
    return load(pt_bytes(model.flanking_size, jax.device_get(training.variables)))


@pytest.mark.parametrize(("recipe", "counting"), [("openspliceai", {3}), ("openspliceai-0.0.7", {0, 1, 2, 3})])
def test_what_does_not_train_keeps_its_bits_and_batches_are_counted(
    recipe: str, counting: set[int], tmp_path: Path
) -> None:
    state = load(pt_bytes(80, random_model(80).variables))
    for key, value in state.items():
        if value.dtype == torch.float32:
            # Adding an update of zero would turn the first to 0.0; arithmetic on the CPU may flush the others.
            odd = torch.tensor([-0.0, DENORMAL, -DENORMAL])
            value.view(-1)[:3] = odd.abs() if key.endswith("running_var") else odd
    torch.save(state, tmp_path / "model.pt")
    _, variables = read_pt(tmp_path / "model.pt")
    assert_bit_identical(load(pt_bytes(80, variables)), state)

    after = train_steps(Pretrained(80, variables), RECIPES[recipe], steps=3)
    trains = ("residual_units.3.", "final_conv.") if recipe == "openspliceai" else ("residual_units.3.",)
    for key, value in state.items():
        unit = int(key.split(".")[1]) if key.startswith("residual_units") else None
        if key.endswith("num_batches_tracked"):
            assert after[key] == value + (3 if unit in counting else 0), key
        elif (key.endswith(("running_mean", "running_var")) and unit in counting) or key.startswith(trains):
            assert not torch.equal(after[key], value), key
        else:
            assert after[key].numpy().tobytes() == value.numpy().tobytes(), key


def test_frozen_parameters_are_not_even_added_to() -> None:
    """Compiled, XLA happens to leave out an addition of zero; that must not be what frozen weights depend on."""
    bits = np.array([-0.0, DENORMAL, -DENORMAL, 1.5], np.float32)
    old = {"initial_conv": {"bias": bits}, "final_conv": {"bias": bits}}
    new = optax.apply_updates(old, jax.tree.map(np.zeros_like, old))
    assert not np.signbit(new["initial_conv"]["bias"][0]), "adding zero changes -0.0"
    trainable = Trainable(ARCHITECTURES[80], {"initial_conv/bias": False, "final_conv/bias": True})
    kept = trainable.keep_frozen(old, new)
    assert kept["initial_conv"]["bias"].tobytes() == bits.tobytes()
    assert kept["final_conv"]["bias"] is new["final_conv"]["bias"]


def test_parameters_load(state, small_model, tmp_path) -> None:
    """What `state_dict(keep_vars=True)` gives."""
    kept = {key: torch.nn.Parameter(value) if value.is_floating_point() else value for key, value in state.items()}
    torch.save(kept, tmp_path / "model.pt")
    assert_same_variables(read_pt(tmp_path / "model.pt")[1], read_pt(small_model)[1])


def test_damaged_tensor_data_is_refused(state, small_model, tmp_path) -> None:
    """One flipped bit; torch.load itself does not look at the archive's checksums."""
    content = bytearray(small_model.read_bytes())
    content[content.index(state["residual_units.0.conv1.weight"].numpy().tobytes()[:64]) + 101] ^= 0x40
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="checksum"):
        read_pt(tmp_path / "model.pt")


@pytest.mark.parametrize("value", [torch.zeros(3).to_sparse(), torch.zeros(3, device="meta")])
def test_tensors_without_plain_values_are_refused(value, state, tmp_path) -> None:
    state["final_conv.bias"] = value
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"something other than tensors \(torch\._utils\._rebuild"):
        read_pt(tmp_path / "model.pt")


def test_a_key_with_and_without_prefix_is_refused(state, tmp_path) -> None:
    state["module.final_conv.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="twice"):
        read_pt(tmp_path / "model.pt")


def test_negative_variance_is_refused(state, tmp_path) -> None:
    state["residual_units.0.batchnorm1.running_var"] = -torch.ones(32)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="variances below zero"):
        read_pt(tmp_path / "model.pt")


def test_files_of_torchs_older_form_are_read(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    assert read_pt(tmp_path / "model.pt")[0] == 80
