"""What the command line asks of the machine: huge pages, and compiled programs that are kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spliceai_jax import startup

pytestmark = pytest.mark.slow


def run_python(code: str, *arguments: object, **environment: str) -> str:
    script = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(script, check=True, capture_output=True, text=True, env={**os.environ, **environment}).stdout


@pytest.mark.skipif(not startup.huge_pages(), reason="no huge pages to ask for on this machine, or asked for already")
def test_a_restart_keeps_the_process_and_its_arguments():
    code = (
        "import os, sys; from spliceai_jax import startup; print(os.getpid(), os.environ.get('GLIBC_TUNABLES'), "
        "sys.argv[1:], flush=True); startup.restart_in_huge_pages()"
    )
    first, second = run_python(code, "a b", "--c", GLIBC_TUNABLES="glibc.malloc.perturb=0").splitlines()
    assert first.split()[0] == second.split()[0]
    assert "hugetlb" not in first
    assert "glibc.malloc.perturb=0:glibc.malloc.hugetlb=1 ['a b', '--c']" in second


@pytest.mark.parametrize("kernel", ["always [never]", "[always] madvise never", None])
def test_nothing_is_asked_for_where_it_would_not_help(kernel, tmp_path, monkeypatch):
    setting = tmp_path / "enabled"
    if kernel is not None:
        setting.write_text(kernel)
    monkeypatch.setattr(startup, "_HUGE_PAGES", setting)
    assert startup.huge_pages() == {}


def test_compiled_programs_are_kept(tmp_path, small_data, small_model):
    code = (
        "import sys; from spliceai_jax import startup; from spliceai_jax.commands.main import main; "
        "startup._SECONDS_WORTH_KEEPING = 0.0; "
        "sys.exit(main(sys.argv[1:]))"
    )
    run = ["evaluate", "-m", small_model, "-test", small_data / "dataset_test.h5"]
    cache = tmp_path / "cache"
    first = run_python(code, *run, XDG_CACHE_HOME=str(cache), JAX_COMPILATION_CACHE_DIR="")
    kept = [Path(path).name for path in cache.rglob("jit_eval_step*-cache")]
    assert len(kept) == 1
    assert run_python(code, *run, XDG_CACHE_HOME=str(cache), JAX_COMPILATION_CACHE_DIR="") == first
