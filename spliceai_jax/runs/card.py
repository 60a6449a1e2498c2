"""The card beside a run's best model: what the model is and where it comes from."""

import json
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib import resources
from pathlib import Path

import jax

from spliceai_jax import stored
from spliceai_jax.architecture import SITE_KINDS, Precision
from spliceai_jax.convert import read_calibrated_pt
from spliceai_jax.errors import WeightsError
from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.evaluation.metrics import Metrics
from spliceai_jax.network.model_files import CARD, beside, is_checkpoint
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.network.temperature import Temperature, in_words, read_temperature, temperature_beside
from spliceai_jax.runs.history import SPLITS, History, Split
from spliceai_jax.runs.identity import RunIdentity
from spliceai_jax.runs.record import DatasetRecord, Parent, Record, UnlabelledRecord
from spliceai_jax.runs.session import Session
from spliceai_jax.stored import check_keys
from spliceai_jax.training.recipes import Recipe

_SPECIES = {"mane": "human (MANE)"}


@cache
def _released() -> dict[str, tuple[str, ...]]:
    table = json.loads(resources.files("spliceai_jax.runs").joinpath("released_models.json").read_text())
    names: dict[str, tuple[str, ...]] = {}  # two of the hundred files are the same
    for species, sizes in table.items():
        for size, seeds in sizes.items():
            for seed, digest in seeds.items():
                name = f"{_SPECIES.get(species, species)}, {size} nt, seed {seed}"
                names[digest] = (*names.get(digest, ()), name)
    return names


def released_as(digest: str) -> tuple[str, ...]:
    """Return the names of OpenSpliceAI's released models (species, flanking size, seed) whose SHA-256 this is."""
    return _released().get(digest, ())


@dataclass(frozen=True, kw_only=True)
class NamedRecipe(Recipe):
    """A recipe with its name."""

    name: str


@dataclass(frozen=True, kw_only=True)
class ReleasedParent(Parent):
    """The weights that a run started from, with the names of OpenSpliceAI's released models that they are."""

    released_as: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelCard(Session):
    """What a run's best model is; the session is the one that wrote it.

    Attributes:
        sha256: SHA-256 of the model's `.pt` file.
        flanking_size: The network's flanking size.
        epoch: The epoch that it is the result of, counted from 0; None: it is the untouched model, since fine-tuning
            did not help.
        parent: The weights that the run started from.
        datasets: The data sets.
        recipe: The recipe, with the caller's overrides.
        random_seed: The run's random seed.
        precision: The type that convolutions compute in.
        before: The untouched model's metrics on "validation" and, once they are measured, "test" and "old_species".
        after: This model's metrics on the same splits.
        comparison: How it compares with the untouched model on the same splits; empty until the run is finished, and
            where it is the untouched model.
        rehearsal: The windows of the old species that it was trained on too; None: there were none.
        unlabelled: The windows that it was trained on without labels; None: there were none.
        teachers: The models whose probabilities it learnt.
    """

    sha256: str
    flanking_size: int
    epoch: int | None
    parent: ReleasedParent
    datasets: dict[Split, DatasetRecord]
    recipe: NamedRecipe
    random_seed: int
    precision: Precision
    before: dict[Split, Metrics]
    after: dict[Split, Metrics]
    comparison: dict[Split, Differences] = field(default_factory=dict)
    rehearsal: DatasetRecord | None = None
    teachers: tuple[Parent, ...] = ()
    unlabelled: UnlabelledRecord | None = None

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, a card without all sets: it was read from a damaged file."""
        check_keys("datasets", self.datasets, SPLITS)
        for name, measured in (("before", self.before), ("after", self.after)):
            check_keys(name, measured, ("validation",))

    def facts(self) -> dict[str, str]:
        """Return what a reader wants to know first, as names and values."""
        test, by = self.datasets["test"], f"by spliceai-jax {self.versions.get('spliceai-jax', '?')} on {self.started}"
        facts = {
            "card": f"fine-tuned {by}" if self.epoch is not None else f"kept untouched {by}: fine-tuning did not help",
            "parent": "; ".join(self.parent.released_as) or self.parent.path,
            "its SHA-256": self.parent.sha256,
            **self._training(),
            "tested on": f"{test.path}: {test.windows} windows",
        }
        for kind in SITE_KINDS if "test" in self.after else ():
            was, now = self.before["test"].site(kind), self.after["test"].site(kind)
            change = f" before, {now.auprc:.4f} after" if self.epoch is not None else ""
            facts[f"{kind} AUPRC"] = f"{was.auprc:.4f}{change}"
        if tested := self.comparison.get("test"):
            facts["verdict"] = f"{tested.headline} the untouched model: {tested.words}"
        return {**facts, **self._old_species(), **self._beside_labels(), "command": self.command}

    def _old_species(self) -> dict[str, str]:
        """Return the facts about the old species; empty where the run had no data set of it."""
        if not (old := self.datasets.get("old_species")):
            return {}
        facts = {"old species": f"{old.path}: {old.windows} windows"}
        if found := self.comparison.get("old_species"):
            facts["forgetting"] = found.forgetting
        return facts

    def _beside_labels(self) -> dict[str, str]:
        facts = {}
        if self.unlabelled:
            facts["without labels"] = f"{self.unlabelled.path}: {self.unlabelled.windows} windows"
        if self.rehearsal:
            facts["rehearsed"] = f"{self.rehearsal.path}: {self.rehearsal.windows} windows"
        if self.teachers:
            names = ", ".join(teacher.path for teacher in self.teachers)
            weight = self.recipe.distill_weight
            facts["teachers"] = names + (f"; distill_weight {weight:g}" if weight else "")
        if self.recipe.l2sp:
            facts["l2sp"] = f"{self.recipe.l2sp:g}"
        return facts

    def _training(self) -> dict[str, str]:
        train, epochs = self.datasets["train"], f"0 to {self.recipe.epochs - 1}"
        data = f"{train.path}: {train.windows} windows"
        if self.epoch is None:
            return {"tried": f"training on {data}", "recipe": f"{self.recipe.name}, no epoch (of {epochs})"}
        return {"trained on": data, "recipe": f"{self.recipe.name}, epoch {self.epoch} (of {epochs})"}


def model_card(sha256: str, identity: RunIdentity, record: Record, history: History) -> ModelCard:
    """Return the card of a run's best model.

    Arguments:
        history: What was measured, up to the tuned epoch or beyond it.
    """
    kept, session = history.kept_epoch(identity.choices), record.sessions[-1]
    before = {name: split.metrics for name, split in history.untouched.items()}
    after = before
    if kept is not None:
        after = {name: found.metrics for name, found in history.epochs[kept].splits.items() if name in before}
    return ModelCard(
        **{field.name: getattr(session, field.name) for field in fields(Session)},
        sha256=sha256,
        flanking_size=identity.flanking_size,
        epoch=kept,
        parent=ReleasedParent(**asdict(record.parent), released_as=released_as(record.parent.sha256)),
        datasets=record.datasets,
        recipe=NamedRecipe(**asdict(identity.choices), name=identity.recipe),
        random_seed=identity.random_seed,
        precision=identity.precision,
        before=before,
        after=after,
        comparison=history.ending.sets if history.ending and kept is not None else {},
        rehearsal=record.rehearsal,
        teachers=record.teachers,
        unlabelled=record.unlabelled,
    )


@dataclass(frozen=True)
class Inspection:
    """Facts about a model: a `.pt` file, or an Orbax checkpoint.

    Attributes:
        file: Its path.
        checkpoint: Whether it is a checkpoint.
        sha256: SHA-256 of the file; of a checkpoint that of its weights, `weights_sha256`.
        weights_sha256: SHA-256 of the bytes that `Pretrained.to_pt` gives these weights.
        flanking_size: 80, 400, 2000 or 10000.
        parameters: The number of trainable values.
        not_finite: The tensors that hold an infinite value or one that is not a number.
        released_as: The names of OpenSpliceAI's released models that this file is; empty of a checkpoint.
        card: The card beside it, if it is this model's.
        card_problem: Why a card beside it is not in `card`; None if there is no such card.
        temperature: The temperature in the file; applied to the scores wherever the file is used.
        temperature_beside: The one beside it, applied where `calibrated` is asked for.
        temperature_problem: Why a temperature beside it cannot be used; None if there is no such file.
    """

    file: str
    checkpoint: bool
    sha256: str
    weights_sha256: str
    flanking_size: int
    parameters: int
    not_finite: tuple[str, ...]
    released_as: tuple[str, ...]
    card: ModelCard | None
    card_problem: str | None
    temperature: Temperature | None
    temperature_beside: Temperature | None
    temperature_problem: str | None

    def facts(self) -> dict[str, str]:
        """Return all of it in words, as names and values."""
        unknown = "no, the file is none of OpenSpliceAI's 100"
        if self.checkpoint:
            unknown = "not known of an Orbax checkpoint; released models are recognised as .pt files only"
        facts = {
            "flanking size": f"{self.flanking_size} nt",
            "parameters": f"{self.parameters:,}",
            "finite": f"NO: {', '.join(self.not_finite)}" if self.not_finite else "yes",
            "SHA-256": self.sha256,
            "released": "; ".join(f"OpenSpliceAI's {name}" for name in self.released_as) or unknown,
            "temperature": self._temperature(),
            "card": self.card_problem or "none",
        }
        return facts | (self.card.facts() if self.card else {})

    def _temperature(self) -> str:
        if self.temperature:
            return in_words(self.temperature)
        if self.temperature_beside:
            return f"beside it, for --calibrated: {in_words(self.temperature_beside)}"
        return self.temperature_problem or "none"


def inspect_weights(path: str | Path) -> Inspection:
    """Return facts about a `.pt` file or an Orbax checkpoint, and the card beside it.

    Raises:
        WeightsError: It is missing or damaged, carries code, or its tensors are not those of the network.
    """
    path = Path(path)
    checkpoint = is_checkpoint(path)
    if checkpoint:
        model = Pretrained.from_orbax(path, finite=False)
    else:
        model = Pretrained(*read_calibrated_pt(path, finite=False))
    digest = model.sha256_at(path)
    card, problem = _card_beside(path, digest)
    temperature, temperature_problem = _temperature_beside(path, digest)
    return Inspection(
        file=str(path),
        checkpoint=checkpoint,
        sha256=digest,
        weights_sha256=model.fingerprint,
        flanking_size=model.flanking_size,
        parameters=sum(value.size for value in jax.tree.leaves(model.variables["params"])),
        not_finite=model.not_finite,
        released_as=released_as(digest),
        card=card,
        card_problem=problem,
        temperature=model.temperature,
        temperature_beside=temperature,
        temperature_problem=temperature_problem,
    )


def _temperature_beside(path: Path, digest: str) -> tuple[Temperature | None, str | None]:
    if not temperature_beside(path).exists():
        return None, None
    try:
        return read_temperature(path, digest), None
    except WeightsError as error:
        return None, str(error)


def _card_beside(path: Path, digest: str) -> tuple[ModelCard | None, str | None]:
    place = beside(path, CARD)
    try:
        card = stored.parse(place, ModelCard)
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError) as error:
        return None, f"{place} cannot be read as a card ({error})"
    if card.sha256 != digest:
        return None, f"{place} describes another file, of SHA-256 {card.sha256:.64}"
    return card, None
