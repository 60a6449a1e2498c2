"""What the command line asks of the machine before it starts work; a caller of the Python API decides on his own."""

import hashlib
import os
import platform
import sys
from pathlib import Path

import platformdirs

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_TUNABLE = "glibc.malloc.hugetlb"
_CACHE_BYTES = 2 * 10**9
_SECONDS_WORTH_KEEPING = 0.5


def huge_pages() -> dict[str, str]:
    """What must stand in the environment of a process for its memory to come in huge pages; {}: nothing would help.

    A step's arrays are given back and asked for anew each time. On a CPU the faults of their 4-kilobyte pages take a
    sixth of a training step.
    """
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        return {}
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    # "always" needs no asking, with "never" there are none.
    if _TUNABLE in tunables or not _HUGE_PAGES.exists() or "[madvise]" not in _HUGE_PAGES.read_text():
        return {}
    return {"GLIBC_TUNABLES": ":".join(filter(None, (tunables, f"{_TUNABLE}=1")))}


def restart_in_huge_pages() -> None:
    """Start this program afresh in this process where that gets it huge pages: glibc reads its settings only then."""
    if asked := huge_pages():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **asked})


def keep_compiled_programs() -> None:
    """Let later runs find what this one compiles, in the user's cache folder or JAX_COMPILATION_CACHE_DIR."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = platformdirs.user_cache_path("spliceai-jax") / "compiled" / _processor()
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS_WORTH_KEEPING)


def _processor() -> str:
    """Tells processors apart that do not run each other's programs: machines may share a home folder."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"
