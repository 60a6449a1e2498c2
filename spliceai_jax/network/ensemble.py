"""Several models used as one: the mean of their probabilities."""

from collections.abc import Sequence
from pathlib import Path

from spliceai_jax.errors import SettingsError
from spliceai_jax.network.model import Variables
from spliceai_jax.network.model_files import models_to_average
from spliceai_jax.network.predictor import Predictor
from spliceai_jax.network.pretrained import Pretrained


class Ensemble(Predictor):
    """Several models of one flanking size, used as one: its scores are the mean of the models' probabilities.

    Attributes:
        models: The models.
        flanking_size: Their flanking size.
    """

    def __init__(self, models: "GivenModel", flanking_size: int | None = None, calibrated: bool = False) -> None:
        """Read the models that are files.

        Arguments:
            models: `.pt` files, folders of them, Orbax checkpoints, or models in memory; several of these, or one.
            flanking_size: The flanking size that they must have; None accepts any.
            calibrated: Apply the temperature that lies beside each file: see `Pretrained.from_pt`. A model in memory
                must have its own. A temperature that a model has already is applied in any case, before the mean.

        Raises:
            WeightsError: See `Pretrained.from_pt`; or a folder holds no `.pt` file.
            SettingsError: There are none, they differ in flanking size, or one in memory has another flanking size
                than it must have, or no temperature though `calibrated`.
        """
        self.models = tuple(read_models(models, flanking_size, calibrated))
        self.flanking_size = self.models[0].flanking_size

    @property
    def _networks(self) -> tuple[Variables, ...]:
        """The scoring variables of each model."""
        return tuple(model.scoring_variables for model in self.models)


GivenModel = str | Path | Pretrained | Ensemble | Sequence[str | Path | Pretrained | Ensemble]
"""A `.pt` file, a folder of them, an Orbax checkpoint or a model in memory; or several, the mean of whose probabilities
is meant.
"""


def read_models(
    given: GivenModel, flanking_size: int | None = None, calibrated: bool = False, argument: str = "models"
) -> list[Pretrained]:
    """Return models the mean of whose probabilities is wanted, read if they are files.

    Arguments:
        given: See `Ensemble`.
        flanking_size: See `Ensemble`.
        calibrated: See `Ensemble`.
        argument: The argument that names them, for messages.

    Raises:
        WeightsError: See `Ensemble`.
        SettingsError: See `Ensemble`.
    """
    named: list[tuple[str, Pretrained]] = []
    for one in [given] if isinstance(given, str | Path | Pretrained | Ensemble) else given:
        if isinstance(one, str | Path):
            named += [(str(path), Pretrained.load(path, flanking_size, calibrated)) for path in models_to_average(one)]
        else:
            members = one.models if isinstance(one, Ensemble) else (one,)
            named += [(f"number {number} (in memory)", model) for number, model in enumerate(members, len(named) + 1)]
    if not named:
        raise SettingsError(f"`{argument}`: none is given; expected one or more")
    first, size = named[0][0], named[0][1].flanking_size
    for name, model in named:
        _check(model, flanking_size, calibrated)
        if model.flanking_size != size:
            raise SettingsError(
                f"`{argument}`: {name} has a flanking size of {model.flanking_size} nt and {first} one of {size} nt; "
                "models whose mean is taken must be of one flanking size; `spliceai-jax compare` scores each alone"
            )
    return [model for _, model in named]


def _check(model: Pretrained, flanking_size: int | None, calibrated: bool) -> None:
    """Refuse a model in memory that is not what was asked for; files have been checked when they were read."""
    if flanking_size not in (None, model.flanking_size):
        raise SettingsError(
            f"`flanking_size` is {flanking_size}, but the model has a flanking size of {model.flanking_size}; "
            f"give `flanking_size={model.flanking_size}`"
        )
    if calibrated and model.temperature is None:
        raise SettingsError("`calibrated`: this model in memory has no `temperature`; give one that has, or a file")
