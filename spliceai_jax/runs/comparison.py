"""How a run's best model compares with the untouched one, as kept in the run's `comparison.json`."""

import warnings
from dataclasses import asdict, dataclass

from spliceai_jax.errors import RunFolderError, SpliceAIWarning
from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.runs import stored
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import Split


@dataclass(frozen=True)
class RunComparison:
    """How the best model compares with the untouched one.

    Attributes:
        untouched: The untouched model's fingerprint: see `Pretrained.fingerprint`.
        tuned: The best model's.
        sets: "validation" and "test" -> the comparison there.
    """

    untouched: str
    tuned: str
    sets: dict[Split, Differences]

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, one that lacks a set: it was read from a damaged file."""
        if missing := {"validation", "test"} - set(self.sets):
            raise ValueError(f"`sets` lacks {', '.join(sorted(missing))}")

    def to_json(self) -> str:
        """Return the file's content."""
        return stored.render(asdict(self))


def read_comparison(folder: RunFolder, untouched: str, tuned: str | None) -> RunComparison | None:
    """Read the comparison of these very models; None where there is none, or it cannot be read, with a warning.

    Arguments:
        folder: The run's folder.
        untouched: The untouched model's fingerprint.
        tuned: The best model's; None: there is no such model yet.
    """
    try:
        found = stored.read(folder.comparison, RunComparison)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except RunFolderError as error:
        warnings.warn(f"{error}; it is left out", SpliceAIWarning, stacklevel=2)
        return None
    return found if (found.untouched, found.tuned) == (untouched, tuned) else None
