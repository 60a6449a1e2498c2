"""How a run's tuned model compares with the untouched one, as kept in the run's `comparison.json`."""

from dataclasses import asdict, dataclass, field

from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.json_files import check_keys
from spliceai_jax.runs import stored
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import Split


@dataclass(frozen=True)
class RunComparison:
    """How the tuned model compares with the untouched one.

    Attributes:
        untouched: The untouched model's fingerprint: see `Pretrained.fingerprint`.
        tuned: That of the tuned model, which is compared even if it is not kept as the best model.
        sets: "validation", "test" and, where the run has its data set, "old_species" -> the comparison there.
        test_files: With several test files: the path of each -> the comparison there.
    """

    untouched: str
    tuned: str
    sets: dict[Split, Differences]
    test_files: dict[str, Differences] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, one that lacks a set: it was read from a damaged file."""
        check_keys("sets", self.sets, ("validation", "test"))

    def to_json(self) -> str:
        """Return the file's content."""
        return stored.render(asdict(self))


def read_comparison(folder: RunFolder, untouched: str, tuned: str | None) -> RunComparison | None:
    """Read the comparison of these very models; None where there is none, or it cannot be read, with a warning.

    Arguments:
        folder: The run's folder.
        untouched: The untouched model's fingerprint.
        tuned: The tuned model's; None: it is not known, or there is no such model yet.
    """
    found = stored.unless_damaged(lambda: stored.read(folder.comparison, RunComparison))
    return found if found and (found.untouched, found.tuned) == (untouched, tuned) else None
