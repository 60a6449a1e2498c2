"""Whether a run caches the activations of the frozen part: decided once, and obeyed when the run is continued."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from spliceai_jax import processes
from spliceai_jax.architecture import Architecture
from spliceai_jax.errors import RunFolderError
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.training.activation_cache import bytes_needed
from spliceai_jax.training.trainable import Trainable
from spliceai_jax.windows.windows import Windows

_LIMIT_ON_CPU = 20.0
"""In gigabytes. On other devices there is no cache unless asked for: reading the activations back has not been shown to
be faster there than computing them."""


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
