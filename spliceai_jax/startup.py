"""Process-wide settings of the command line, made before it starts work; the Python API leaves them to its caller."""

import hashlib
import os
import platform
import sys
from pathlib import Path

import platformdirs

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_TUNABLE = "glibc.malloc.hugetlb"
_CACHE_BYTES = 2 * 10**9
_SECONDS_WORTH_KEEPING = 0.1


def huge_pages() -> dict[str, str]:
    """Return the environment variables that give a process its memory in huge pages; {} if nothing would help.

    Every step frees its arrays and allocates them again. On a CPU the page faults of ordinary 4-kilobyte pages take a
    sixth of a training step.
    """
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        return {}
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    # "always" gives them unasked, and "never" not at all.
    if _TUNABLE in tunables or not _HUGE_PAGES.exists() or "[madvise]" not in _HUGE_PAGES.read_text():
        return {}
    return {"GLIBC_TUNABLES": ":".join(filter(None, (tunables, f"{_TUNABLE}=1")))}


def restart_in_huge_pages() -> None:
    """Restart this program in this process if that gives it huge pages: glibc reads its settings only at the start."""
    if asked := huge_pages():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **asked})


def keep_compiled_programs() -> None:
    """Cache compiled programs for later runs, in the user's cache folder or JAX_COMPILATION_CACHE_DIR."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = platformdirs.user_cache_path("spliceai-jax") / "compiled" / _processor()
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS_WORTH_KEEPING)


def _processor() -> str:
    """Return a name for this kind of processor: machines that share a home folder may not run each other's programs."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"
