"""Process-wide settings of the command line, made before it starts work; the Python API leaves them to its caller."""

import contextlib
import hashlib
import io
import os
import platform
import sys
from pathlib import Path

import platformdirs

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_TUNABLE = "glibc.malloc.hugetlb"
_CACHE_BYTES = 2 * 10**9
_SECONDS_WORTH_KEEPING = 0.1


def open_standard_streams() -> None:
    """Open stdin, stdout and stderr on /dev/null where the program was started without; escape what they cannot encode.

    Otherwise the next file to be opened, a result for example, gets the number of stderr, and XLA's log goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
    if _TUNABLE in tunables or "[madvise]" not in _text_of(_HUGE_PAGES):
        return {}
    return {"GLIBC_TUNABLES": ":".join(filter(None, (tunables, f"{_TUNABLE}=1")))}


def restart_in_huge_pages() -> None:
    """Restart this program in this process if that gives it huge pages: glibc reads its settings only at the start."""
    if asked := huge_pages():
        with contextlib.suppress(OSError):  # they are a matter of speed alone
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **asked})


def keep_compiled_programs() -> None:
    """Cache compiled programs for later runs, in the user's cache folder or JAX_COMPILATION_CACHE_DIR."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = platformdirs.user_cache_path("spliceai-jax") / "compiled" / processor()
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS_WORTH_KEEPING)


def processor() -> str:
    """Return a name for this kind of processor: machines that share a home folder may not run each other's programs."""
    lines = _text_of(Path("/proc/cpuinfo")).splitlines()
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"


def _text_of(path: Path) -> str:
    """Return the text of one of the system's files, or nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
