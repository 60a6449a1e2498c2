"""What a `.pt` file is: the card that a fine-tuned model carries, and OpenSpliceAI's released models."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.convert import read_pt, tensor_table
from spliceai_jax.history import History
from spliceai_jax.pretrained import Pretrained
from spliceai_jax.recipes import Recipe
from spliceai_jax.record import Record

_SPECIES = {"mane": "human (MANE)"}


@cache
def _released() -> dict[str, tuple[str, ...]]:
    table = json.loads(resources.files("spliceai_jax").joinpath("released_models.json").read_text())
    names: dict[str, tuple[str, ...]] = {}  # two of the hundred files are the same
    for species, sizes in table.items():
        for size, seeds in sizes.items():
            for seed, digest in seeds.items():
                name = f"{_SPECIES.get(species, species)}, {size} nt, seed {seed}"
                names[digest] = (*names.get(digest, ()), name)
    return names


def released_as(digest: str) -> tuple[str, ...]:
    """The names of OpenSpliceAI's released models (species, flanking size, seed) whose file has this SHA-256."""
    return _released().get(digest, ())


def render_card(content: bytes, identity: dict[str, Any], record: Record, history: History) -> str:
    """The card of a run's best model, as JSON.

    Arguments:
        content: The model's `.pt` file.
        identity: What decides the run's result: see `Plan.identity`.
        record: The run's record.
        history: What was measured, up to and with the best epoch or beyond it.
    """
    best = history.epochs[history.best_epoch]
    after = {"validation": best.validation, "test": best.test}
    card = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "flanking_size": identity["flanking_size"],
        "epoch": history.best_epoch,
        "parent": {**record.parent, "released_as": list(released_as(record.parent["sha256"]))},
        "datasets": {name: asdict(dataset) for name, dataset in record.datasets.items()},
        "recipe": {"name": record.recipe, **{name: identity[name] for name in Recipe.__dataclass_fields__}},
        "random_seed": identity["random_seed"],
        "precision": identity["precision"],
        "before": {name: asdict(split.metrics) for name, split in history.untouched.items()},
        "after": {name: asdict(split.metrics) for name, split in after.items()},
        **asdict(record.sessions[-1]),
    }
    return json.dumps(card, indent=2) + "\n"


@dataclass(frozen=True)
class Inspection:
    """What can be said of a `.pt` file.

    Attributes:
        file: Its path.
        sha256: Of the file.
        weights_sha256: Of the bytes that `Pretrained.to_pt` gives these weights.
        flanking_size: 80, 400, 2000 or 10000.
        parameters: Trainable numbers.
        not_finite: The tensors that hold an infinite value or one that is not a number.
        released_as: The names of OpenSpliceAI's released models that this file is.
        card: The card beside it, if it is this file's.
        card_problem: Why there is a card beside it but not in `card`.
    """

    file: str
    sha256: str
    weights_sha256: str
    flanking_size: int
    parameters: int
    not_finite: tuple[str, ...]
    released_as: tuple[str, ...]
    card: dict[str, Any] | None
    card_problem: str | None


def inspect_pt(path: str | Path) -> Inspection:
    """Look at a `.pt` file and the card beside it.

    Raises:
        WeightsError: The file is missing or damaged, carries code, or its tensors are not those of the network.
    """
    path = Path(path)
    flanking_size, variables = read_pt(path, finite=False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    flat = flatten_dict(variables)
    card, problem = _card_beside(path, digest)
    return Inspection(
        file=str(path),
        sha256=digest,
        weights_sha256=Pretrained(flanking_size, variables).fingerprint,
        flanking_size=flanking_size,
        parameters=sum(value.size for value in jax.tree.leaves(variables["params"])),
        not_finite=tuple(
            tensor.key
            for tensor in tensor_table(ARCHITECTURES[flanking_size])
            if not np.isfinite(flat[tensor.path]).all()
        ),
        released_as=released_as(digest),
        card=card,
        card_problem=problem,
    )


def _card_beside(path: Path, digest: str) -> tuple[dict[str, Any] | None, str | None]:
    beside = path.with_suffix(".json")
    try:
        card = json.loads(beside.read_text())
        described = card["sha256"]
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"{beside} cannot be read as a card ({type(error).__name__}: {error})"
    if described != digest:
        return None, f"{beside} describes another file, of SHA-256 {described}"
    return card, None
