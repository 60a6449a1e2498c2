"""Whether the memory has room for a batch, and the disk for the activations of the frozen part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from spliceai_jax import processes
from spliceai_jax.architecture import CHANNELS, WINDOW, Architecture, Precision
from spliceai_jax.errors import RunFolderError, SettingsError
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.training.activation_cache import bytes_needed
from spliceai_jax.training.trainable import Trainable
from spliceai_jax.windows.windows import Windows

_LIMIT_ON_CPU = 20.0
"""In gigabytes. On other devices there is no cache unless asked for: reading the activations back has not been shown to
be faster there than computing them."""

_MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class CachePlan:
    """Whether activations are cached.

    Attributes:
        wanted: Whether they are.
        words: The same in words, with the reason.
        bytes: The bytes on disk that they take.
    """

    wanted: bool
    words: str
    bytes: int = 0


def plan_cache(
    settings: TransferSettings,
    architecture: Architecture,
    trainable: Trainable,
    mutation_rate: float,
    sets: Sequence[Windows],
    free: int,
    begun_with: bool | None,
) -> CachePlan:
    """Decide whether to cache activations.

    A run that caches them gives the result of one that does not to float rounding, but not to the bit. So a continued
    run does what it began with, unless the caller gives `activation_cache`.

    Arguments:
        settings: Its `activation_cache` is the limit.
        architecture: The network's size.
        trainable: What trains.
        mutation_rate: The recipe's.
        sets: All windows.
        free: Bytes on disk that the run does not need for anything else.
        begun_with: Whether the continued run caches activations; None: the run is new, or this is not known.

    Raises:
        RunFolderError: The continued run caches its activations, and there is no longer room for them.
    """
    if not trainable.first_entry:
        return CachePlan(False, "none: all of the network's output changes as it trains")
    if mutation_rate:
        return CachePlan(False, "none: bases are mutated at random in every batch")
    if processes.several():
        return CachePlan(False, "none: with several processes every window travels between them")
    # A bfloat16 network would continue in bfloat16; the cache is float32.
    if settings.precision == "bfloat16":
        return CachePlan(False, "none: not with `precision=bfloat16`")
    limit, given = settings.activation_cache, settings.activation_cache is not None
    if limit is None:
        limit = _LIMIT_ON_CPU if jax.default_backend() == "cpu" else 0.0
        if begun_with is not None:
            limit = float("inf") if begun_with else 0.0
    if not limit:
        return CachePlan(False, "none: the frozen part is computed for every batch")
    needed = bytes_needed(sets, architecture, trainable.first_entry)
    room = f"{needed / 1e9:.1f} GB"
    if needed > limit * 1e9:
        return CachePlan(False, f"none: it would take {room}, and `activation_cache` allows {limit:g}")
    if needed > free and not given:
        left = f"the disk has {max(free, 0) / 1e9:.1f} GB to spare"
        if begun_with:
            raise RunFolderError(
                f"`output_dir`: this run caches the frozen part's output, which takes {room}, and {left}; make room, "
                "or give `activation_cache=0`, with which the run ends equal to rounding but not to the bit"
            )
        return CachePlan(False, f"none: it would take {room}, and {left}")
    return CachePlan(True, f"the frozen part is computed once for each window, {room} on disk", needed)


def bytes_of_row(architecture: Architecture, trainable: Trainable, precision: Precision) -> int:
    """Return about how many bytes a row of a training batch takes while a step is computed.

    XLA's own figures for CPUs, at all flanking sizes and with one unit to all of them training, are at most 10 % higher
    and 35 % lower: for each position and channel, 6 numbers for each unit that trains and 4 to 9 for everything else.
    """
    training = sum(number >= trainable.first_entry for number in architecture.units)
    numbers = (6 * training + 6) * CHANNELS * (WINDOW + architecture.flanking_size)
    return numbers * (2 if precision == "bfloat16" else 4)


def check_memory(windows: int, of_window: int) -> None:
    """Refuse batches that the memory has no room for.

    Arguments:
        windows: Windows in a batch, over all devices.
        of_window: Bytes that a window takes.

    Raises:
        SettingsError: The message names what is needed and what there is.
    """
    devices = jax.local_devices()
    for_each = -(-windows // jax.device_count())
    if devices[0].platform == "cpu":
        needed, free, place = for_each * len(devices) * of_window, _free(), "this machine"
    else:
        figures = devices[0].memory_stats() or {}
        needed, free, place = for_each * of_window, figures.get("bytes_limit"), "the device"
    if free is not None and needed > free:
        raise SettingsError(
            f"`batch_size`: a training step of {windows} windows would take about {needed / 1e9:.0f} GB of memory, and "
            f"{place} has {free / 1e9:.0f} GB free; give at most {max(windows * free // needed, 1)}"
        )


def _free() -> int | None:
    """Return the bytes of memory that programs can still get; None where the system does not say."""
    try:
        lines = dict(line.split(":") for line in _MEMORY.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
