"""What `make tpu-check` counts in compiled programs, and the check itself where its environment is."""

import json
import os
import subprocess
import sys

import jax
import pytest
from conftest import ROOT, random_model, several_devices

pytestmark = pytest.mark.full

CHECK = ROOT / "benchmarks" / "tpu_check.py"
LIBTPU = ROOT / ".libtpu"

COUNTING = """
import json
import sys
from dataclasses import asdict

sys.path.insert(0, sys.argv[1])
import jax
from tpu_check import Case, Finding, allowed, compared, count_collectives, shapes_of

from spliceai_jax import ARCHITECTURES
from spliceai_jax.training.engine import Engine

def count(text):
    return {name: [seen.number, seen.bytes] for name, seen in count_collectives(text).items()}


found = {}
for step in ("train", "evaluate"):
    case = Case("cpu", "float32", 80, step, None, 1, "O1")
    engine = Engine(ARCHITECTURES[80], case.recipe, "float32", jax.devices())
    state, batch = shapes_of(case, jax.device_count())
    lowered = engine.lower_train(state, batch) if step == "train" else engine.lower_evaluate(state.variables, batch)
    most = allowed(case, state.params, jax.device_count())
    found[step] = [count(lowered.compile().as_text()), [most.number, most.bytes]]
# As libtpu writes them: layouts with parentheses, long tuples with comments, asynchronous pairs.
found["tpu"] = count('''
ENTRY %main {
  %all-reduce.1 = (f32[32]{0:T(128)S(1)}, /*index=1*/f32[]{:T(128)}) all-reduce(%a, %b), channel_id=2
  %fusion = bf16[36,80]{0,1:T(8,128)(2,1)} fusion(%all-reduce.1), metadata={op_name="all-reduce(x)"}
  %all-reduce-start = bf16[4,8]{1,0:T(4,128)(2,1)} all-reduce-start(%c), channel_id=3
  %all-reduce-done = bf16[4,8]{1,0:T(4,128)(2,1)} all-reduce-done(%all-reduce-start)
  %all-gather-start.2 = (u8[2,100]{1,0}, u8[8,100]{1,0}) all-gather-start(%d), dimensions={0}
  ROOT %cp = pred[7]{0} collective-permute(%e), channel_id=4
}
''')
kept = {str(case): {"compiler": "libtpu 1", "bytes_accessed": 100.0}}
found["grown"] = [
    compared(asdict(Finding(case, 4, bytes_accessed=size)), kept, compiler)["problems"]
    for size, compiler in ((110.0, "libtpu 1"), (111.0, "libtpu 1"), (111.0, "libtpu 2"))
]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def counted():
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, CHECK.parent],
        env={**os.environ, **several_devices(2)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_collectives_of_tpu_text(counted):
    assert counted["tpu"] == {
        "all-reduce": [2, 33 * 4 + 32 * 2],
        "all-gather": [1, 800],
        "collective-permute": [1, 7],
    }


def test_collectives_of_our_steps(counted):
    """Two devices of the CPU: the sums that the step writes out, and nothing else."""
    (train, most), (evaluate, gathered) = counted["train"], counted["evaluate"]
    assert gathered == [2, 2 * 5000 * (3 + 1) * 4]
    assert evaluate == {"all-gather": gathered}
    assert train["all-gather"] == [8, 8 * 2 * 3 * 32 * 4]  # count, mean and squares of both devices, a layer
    number, size = (sum(column) for column in zip(*train.values(), strict=True))
    assert number == most[0]
    gradients = sum(leaf.nbytes for leaf in jax.tree.leaves(random_model(80).variables["params"]))
    assert gradients < size <= most[1]


def test_a_program_may_not_move_more_bytes_than_it_did(counted):
    """By a tenth, and by the count of the same compiler."""
    assert counted["grown"] == [[], ["moves 1.11 times the bytes that it did; `--keep` accepts that"], []]


def run(*flags: str) -> subprocess.CompletedProcess:
    with_libtpu = {**os.environ, "PYTHONPATH": str(LIBTPU)}
    command = [sys.executable, CHECK, "--sizes", "80", "--topologies", "v5e:2x2", "--precisions", "bfloat16", *flags]
    return subprocess.run(
        [*command, "--level", "O1", "--json"], capture_output=True, text=True, timeout=300, check=False, env=with_libtpu
    )


needs_libtpu = pytest.mark.skipif(not LIBTPU.exists(), reason="no .libtpu: `make tpu-check` makes it")


@needs_libtpu
def test_check_passes():
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    train, evaluate = json.loads(done.stdout)
    assert train["chips"] == evaluate["chips"] == 4
    assert train["collectives"]["all-reduce"]["number"] > 0
    assert evaluate["collectives"]["all-gather"]["bytes"] == 4 * 36 * 5000 * (3 + 1) * 4
    # Two convolutions a unit, four units, and their gradients. For four neighbours in the channels, the kernel of 11
    # taps and 32 x 32 channels is one of 5 taps and 128 x 128.
    convolutions = 8 * 5 * 128 * 128 * 2 * (5080 // 4)
    assert 1.0 < evaluate["flops"] / 36 / convolutions < 1.2
    assert 2.5 < train["flops"] / 36 / convolutions < 3.5


@needs_libtpu
def test_check_fails_in_one_line():
    """More windows than a chip can hold."""
    done = run("--steps", "train", "--windows", "20000")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("tpu-check failed: v5e:2x2 bfloat16 80 nt train: ")
