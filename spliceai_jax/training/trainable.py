"""What trains, as data: a table of patterns decides which parameters train, and everything else follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal, TypeVar

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from spliceai_jax.architecture import Architecture
from spliceai_jax.convert import tensor_table
from spliceai_jax.network.model import Tree, entry_name
from spliceai_jax.training.recipes import Recipe

TRAINABLE, FROZEN = "trainable", "frozen"

Rules = tuple[tuple[str, bool], ...]
"""(pattern, trains), with shell patterns. The first one that matches a parameter's name decides whether it trains.

A name is the parameter's place in the variables: `residual_units_7/conv1/kernel`, `residual_units_7/batchnorm1/weight`,
`residual_units_4/conv/bias` (a skip), `initial_conv/kernel`, `initial_skip/conv/bias`, `final_conv/kernel`.
"""

UnitsOnBatchStatistics = Literal["trained", "all", "none"]

T = TypeVar("T")


def recipe_rules(architecture: Architecture, recipe: Recipe) -> Rules:
    """Return a recipe's choice of what trains, as rules."""
    if recipe.unfreeze_all:
        return (("*", True),)
    units = sorted(architecture.units)
    last = units[max(len(units) - recipe.unfreeze, 0) :]
    return (
        *((f"{entry_name(number)}/*", True) for number in last),
        ("final_conv/*", recipe.head_trains),
        ("*", False),
    )


def padding_counts(recipe: Recipe, trainable: "Trainable") -> bool:
    """Return whether positions beyond the ends of genes count in training: in BatchNorm's statistics, or in the loss.

    Where they do not, they need not be computed: see `packing.training_packer`.
    """
    return recipe.padding_counts or bool(trainable.training_units)


@dataclass(frozen=True)
class Trainable:
    """Which parameters of a network train.

    Attributes:
        architecture: The network's size.
        trains: Name of every parameter -> whether it trains.
        batch_statistics: The units whose BatchNorm uses (and tracks) the batch's statistics: those that train; all,
            as in OpenSpliceAI 0.0.7; or none, so that all use their running statistics.
    """

    architecture: Architecture
    trains: Mapping[str, bool]
    batch_statistics: UnitsOnBatchStatistics = "trained"

    @classmethod
    def of(cls, architecture: Architecture, recipe: Recipe) -> "Trainable":
        """Return what a recipe trains."""
        on_batch: UnitsOnBatchStatistics = "trained" if recipe.trained_batchnorm == "batch" else "none"
        if recipe.frozen_batchnorm == "batch":
            on_batch = "all"
        return cls.by_rules(architecture, recipe_rules(architecture, recipe), on_batch)

    @classmethod
    def by_rules(
        cls, architecture: Architecture, rules: Rules, batch_statistics: UnitsOnBatchStatistics = "trained"
    ) -> "Trainable":
        """Return which parameters of a network rules train.

        Raises:
            ValueError: A parameter matches no pattern, or a pattern matches no parameter.
        """
        names = ["/".join(t.path[1:]) for t in tensor_table(architecture) if t.path[0] == "params"]
        for pattern, _ in rules:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"rules: {pattern!r} matches no parameter of the {architecture.flanking_size}-nt network"
                )
        trains = {}
        for name in names:
            decisions = [decision for pattern, decision in rules if fnmatchcase(name, pattern)]
            if not decisions:
                raise ValueError(f"rules: no pattern matches the parameter {name!r}; end with ('*', False)")
            trains[name] = decisions[0]
        return cls(architecture, trains, batch_statistics)

    @cached_property
    def labels(self) -> Tree:
        """The labels of the parameters, TRAINABLE or FROZEN, as a tree for `optax.multi_transform`.

        A submodule whose parameters all have the same label is one leaf, so that a frozen one takes up a single empty
        node in the optimizer's state.
        """
        tree: Tree = unflatten_dict(
            {tuple(name.split("/")): TRAINABLE if trains else FROZEN for name, trains in self.trains.items()}
        )
        for name, submodule in tree.items():
            found = set(flatten_dict(submodule).values())
            if len(found) == 1:
                tree[name] = found.pop()
        return tree

    def keep_frozen(self, old: T, new: T) -> T:
        """Take the frozen parameters from `old` and the others from `new`.

        Adding an update of zero instead would turn -0.0 into 0.0 and flush denormal numbers.
        """
        return jax.tree.map(lambda label, was, now: now if label == TRAINABLE else was, self.labels, old, new)

    @cached_property
    def training_units(self) -> frozenset[int]:
        """The residual units whose BatchNorm uses (and tracks) the batch's statistics, as entry numbers."""
        units = self.architecture.units
        if self.batch_statistics != "trained":
            return frozenset(units if self.batch_statistics == "all" else ())
        return frozenset(number for number in units if any(self._within(f"{entry_name(number)}/batchnorm")))

    @cached_property
    def trained_units(self) -> frozenset[int]:
        """The residual units with parameters that train, as entry numbers."""
        return frozenset(number for number in self.architecture.units if any(self._within(f"{entry_name(number)}/")))

    @cached_property
    def first_entry(self) -> int:
        """The first entry of the network whose output changes while it trains.

        What lies before it is a fixed function of a window's bases. 0: there is nothing before it.
        """
        if any(self._within("initial_")):
            return 0
        changing = (
            number
            for number in range(self.architecture.entries)
            if number in self.training_units or any(self._within(f"{entry_name(number)}/"))
        )
        return next(changing, self.architecture.entries)

    @property
    def words(self) -> str:
        """What trains, in words."""
        running = "; all BatchNorm on running statistics" if self.batch_statistics == "none" else ""
        if all(self.trains.values()):
            return f"everything{running}"
        whole = [number for number in self.architecture.units if all(self._within(f"{entry_name(number)}/"))]
        words = f"{len(whole)} of {len(self.architecture.units)} residual units"
        if all(self._within("final_conv/")):
            words += " and the head"
        named = (*(f"{entry_name(number)}/" for number in whole), "final_conv/")
        if other := sum(trains for name, trains in self.trains.items() if not name.startswith(named)):
            words += f" and {other} other parameters"
        statistics = "the batch's" if self.batch_statistics == "all" else "running"
        return words + (running or f"; frozen BatchNorm on {statistics} statistics")

    def _within(self, prefix: str) -> list[bool]:
        return [trains for name, trains in self.trains.items() if name.startswith(prefix)]
