"""What decides the result of a run. A run is continued only if all of it is the same."""

from dataclasses import asdict, dataclass

from spliceai_jax.architecture import ARCHITECTURES, Precision
from spliceai_jax.runs.history import Split
from spliceai_jax.stored import Json
from spliceai_jax.training.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What decides the result of a run, as written to the run's `run.json`.

    Attributes:
        recipe: The recipe's name.
        choices: The recipe with the caller's overrides and the batch size used, never None.
        flanking_size: The network's flanking size.
        random_seed: The seed of the shuffling and of the split.
        precision: The type that convolutions compute in.
        pretrained_model: The fingerprint of the weights that the run starts from: see `Pretrained.fingerprint`.
        train_dataset: The fingerprint of the training windows: see `Windows.fingerprint`.
        validation_dataset: The fingerprint of the validation windows.
        test_dataset: The fingerprint of the test windows.
        genomic_eval_dataset: The fingerprint of the windows of the old species, which decide what is logged and nothing
            else; None where the run has none.
        rehearsal_dataset: The fingerprint of the windows of the old species that are trained on; None: there are none.
        unlabelled_dataset: The fingerprint of the windows that are trained on without labels; None: there are none.
        distill_teacher: The fingerprint of each model whose probabilities are learnt.
    """

    recipe: str
    choices: Recipe
    flanking_size: int
    random_seed: int
    precision: Precision
    pretrained_model: str
    train_dataset: str
    validation_dataset: str
    test_dataset: str
    genomic_eval_dataset: str | None = None
    rehearsal_dataset: str | None = None
    distill_teacher: tuple[str, ...] = ()
    unlabelled_dataset: str | None = None

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, a network that there is not: it was read from a damaged file."""
        if self.flanking_size not in ARCHITECTURES:
            raise ValueError(f"`flanking_size` is {self.flanking_size}; expected {', '.join(map(str, ARCHITECTURES))}")

    @property
    def batch_size(self) -> int:
        """Windows in a batch."""
        return self.choices.batch_size or ARCHITECTURES[self.flanking_size].batch_size

    @property
    def fingerprints(self) -> dict[Split, str]:
        """The fingerprint of every set of windows that the run has."""
        found: dict[Split, str | None] = {
            "train": self.train_dataset,
            "validation": self.validation_dataset,
            "test": self.test_dataset,
            "old_species": self.genomic_eval_dataset,
        }
        return {name: fingerprint for name, fingerprint in found.items() if fingerprint is not None}

    def to_json(self) -> Json:
        """Return the content of `run.json`, where the fields of the recipe stand beside the others."""
        content = asdict(self)
        choices = content.pop("choices")
        return {"recipe": content.pop("recipe"), **choices, **content}

    def differences(self, recorded: "RunIdentity") -> list[str]:
        """Return in words what differs from the identity that was recorded; the recipe's name comes first."""
        before, now = recorded.to_json(), self.to_json()
        return [f"{name} was {before[name]!r} and is now {now[name]!r}" for name in now if before[name] != now[name]]


def from_json(content: Json) -> Json:
    """Return the content of `run.json` arranged as the fields of `RunIdentity`."""
    return {**content, "choices": content}
