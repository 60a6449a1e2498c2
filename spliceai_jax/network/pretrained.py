"""A trained network in memory: read from a `.pt` file or an orbax checkpoint, used, and written again."""

import hashlib
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Integer

from spliceai_jax import convert
from spliceai_jax.architecture import ARCHITECTURES, CLASSES
from spliceai_jax.encoding import BASES, encode
from spliceai_jax.errors import SettingsError, SpliceAIError, SpliceAIWarning, WeightsError
from spliceai_jax.files import write_whole
from spliceai_jax.network.model import Variables, network_on
from spliceai_jax.network.model_files import model_files
from spliceai_jax.network.temperature import COLLECTION, Temperature, in_words, read_temperature

_BASES_AT_ONCE = 200_000
"""Bases that `Pretrained.predict` sends through the network together: about 0.5 GB of activations."""


@dataclass(frozen=True)
class Pretrained:
    """A network's weights, its size, and its temperature if it is calibrated.

    Attributes:
        flanking_size: 80, 400, 2000 or 10000.
        variables: `{"params": ..., "batch_stats": ...}`, for `SpliceAI(ARCHITECTURES[flanking_size]).apply`.
        temperature: What the logits of neither, acceptor and donor are divided by before the softmax; None: the scores
            are the network's own.
    """

    flanking_size: int
    variables: Variables
    temperature: Temperature | None = None

    @classmethod
    def from_pt(cls, path: str | Path, flanking_size: int | None = None, calibrated: bool = False) -> "Pretrained":
        """Load a `.pt` file written by OpenSpliceAI or by `to_pt` or `to_calibrated_pt`.

        A temperature in the file is applied to the scores, and a warning says so.

        Arguments:
            path: The file.
            flanking_size: The flanking size that the weights must have; None accepts any.
            calibrated: Apply the temperature that lies beside the file, unless the file holds one itself.

        Raises:
            WeightsError: The file is missing or damaged, carries code, or its tensors are not those of the network; or
                `calibrated` finds no temperature, or one of another model.
        """
        size, variables, temperature = convert.read_calibrated_pt(path, flanking_size)
        if temperature:
            said = f"{path}: a calibrated model; its temperature is applied: {in_words(temperature)}"
            warnings.warn(said, SpliceAIWarning, stacklevel=2)
        elif calibrated:
            temperature = read_temperature(Path(path))
        return cls(size, variables, temperature)

    @classmethod
    def weights_of_pt(cls, path: str | Path, flanking_size: int | None = None) -> "Pretrained":
        """Load a `.pt` file without its temperature, if it holds one: a warning says so.

        Arguments and errors are those of `from_pt`.
        """
        size, variables, temperature = convert.read_calibrated_pt(path, flanking_size)
        if temperature:
            said = f"{path}: a calibrated model; its temperature is left out here, its weights alone are used"
            warnings.warn(said, SpliceAIWarning, stacklevel=2)
        return cls(size, variables)

    @property
    def scoring_variables(self) -> Variables:
        """The variables, with the temperature among them if there is one; `SpliceAI.apply` takes both."""
        if self.temperature is None:
            return self.variables
        return {**self.variables, COLLECTION: {"temperature": np.array(self.temperature, np.float32)}}

    def to_pt(self, path: str | Path) -> None:
        """Write a `.pt` file that OpenSpliceAI reads; an existing file is replaced in one step.

        It holds the weights alone; see `to_calibrated_pt` for the temperature.
        """
        write_whole(Path(path), self.pt_bytes())

    def to_calibrated_pt(self, path: str | Path) -> None:
        """Write a `.pt` file that holds the temperature too; `from_pt` reads it.

        Raises:
            SettingsError: The model has no temperature.
        """
        if self.temperature is None:
            raise SettingsError(f"{path}: this model has no `temperature` to write; calibrate it, or use `to_pt`")
        content = convert.calibrated_pt_bytes(self.flanking_size, jax.device_get(self.variables), self.temperature)
        write_whole(Path(path), content)

    def pt_bytes(self) -> bytes:
        """Return the contents of the file that `to_pt` writes."""
        return convert.pt_bytes(self.flanking_size, jax.device_get(self.variables))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what `to_pt` writes. It is the same for the same weights, whichever file they came from."""
        return hashlib.sha256(self.pt_bytes()).hexdigest()

    @classmethod
    def from_orbax(cls, path: str | Path) -> "Pretrained":
        """Load a checkpoint directory written by `to_orbax`.

        Raises:
            WeightsError: The directory is not such a checkpoint.
        """
        from spliceai_jax.network import orbax_files  # takes a second to import, and few need it

        path = Path(path)
        try:
            size = convert.flanking_size_of(orbax_files.describe_variables(path), path)
            variables = orbax_files.load_variables(path)
        except WeightsError:
            raise
        except Exception as error:  # orbax raises whatever its storage layers do
            reason = " ".join(str(error).split()) or type(error).__name__
            raise WeightsError(
                f"{path}: cannot be read as an orbax checkpoint ({reason:.200}); it may be damaged, make it again"
            ) from error
        return cls(size, variables)

    def to_orbax(self, path: str | Path) -> None:
        """Write an orbax checkpoint directory, which must not exist."""
        from spliceai_jax.network import orbax_files

        orbax_files.save_variables(Path(path), self.variables)

    def predict(
        self, bases: Integer[np.ndarray, "sequences length"] | Sequence[str]
    ) -> Float32[np.ndarray, "sequences positions 3"]:
        """Score every position that has its full context.

        Arguments:
            bases: A list of equally long strings, in which any letter other than A, C, G and T (in either case)
                counts as N; or integers, 0 for N and 1 to 4 for A C G T.

        Returns:
            Probabilities of neither, acceptor and donor for length - flanking_size positions. Position i is base
            i + flanking_size / 2.

        Raises:
            ValueError: The strings differ in length, the array is not two-dimensional or holds other codes, or the
                sequences are no longer than the context.
        """
        codes = encode(bases) if not isinstance(bases, np.ndarray) else bases
        if codes.ndim != 2 or codes.dtype.kind not in "iu":
            raise ValueError(f"bases is {codes.dtype} {codes.shape}, expected integers (n, L + {self.flanking_size})")
        if codes.size and not (codes.min() >= 0 and codes.max() < len(BASES)):
            raise ValueError(f"bases holds {codes.min()} to {codes.max()}, expected 0 for N and 1 to 4 for A C G T")
        rows, length = codes.shape[0], codes.shape[1] - self.flanking_size
        if length < 1:
            raise ValueError(
                f"bases has length {codes.shape[1]}, expected more than the {self.flanking_size} of context"
            )
        result, variables = np.empty((rows, length, len(CLASSES)), np.float32), self.scoring_variables
        at_once = min(rows, max(_BASES_AT_ONCE // codes.shape[1], 1))
        for start in range(0, rows, max(at_once, 1)):
            part = codes[start : start + at_once].astype(np.uint8)
            # The last part is filled up, since every new shape is compiled anew.
            filled = np.pad(part, ((0, at_once - len(part)), (0, 0)))
            scores = _apply(self.flanking_size)(variables, filled)
            result[start : start + len(part)] = np.asarray(scores)[: len(part)]
        return result


def read_models(
    given: str | Path | Sequence[str | Path],
    flanking_size: int | None = None,
    calibrated: bool = False,
    argument: str = "models",
) -> list[Pretrained]:
    """Read models the mean of whose probabilities is wanted.

    Arguments:
        given: `.pt` files, or folders of them: see `model_files`.
        flanking_size: See `Pretrained.from_pt`.
        calibrated: See `Pretrained.from_pt`.
        argument: The argument that names them, for messages.

    Raises:
        WeightsError: See `Pretrained.from_pt` and `model_files`.
        SettingsError: They differ in flanking size.
    """
    files = model_files(given)
    models = [Pretrained.from_pt(path, flanking_size, calibrated) for path in files]
    for path, model in zip(files, models, strict=True):
        if model.flanking_size != models[0].flanking_size:
            raise SettingsError(
                f"`{argument}`: {path} has a flanking size of {model.flanking_size} nt and {files[0]} one of "
                f"{models[0].flanking_size} nt; models whose mean is taken must be of one flanking size"
            )
    return models


@cache
def _apply(flanking_size: int) -> Any:
    return jax.jit(network_on(jax.default_backend(), ARCHITECTURES[flanking_size]).apply)


def convert_weights(source: str | Path, target: str | Path) -> Pretrained:
    """Turn a `.pt` file into an orbax checkpoint directory, or such a directory into a `.pt` file.

    Returns:
        The model.

    Raises:
        WeightsError: `source` is neither.
        SpliceAIError: `target` exists, or cannot be written.
    """
    source, target = Path(source), Path(target)
    is_checkpoint = source.is_dir()
    model = Pretrained.from_orbax(source) if is_checkpoint else Pretrained.weights_of_pt(source)
    if target.exists():
        raise SpliceAIError(f"{target}: exists already; give a name that does not")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise SpliceAIError(f"{target}: cannot be written ({error.strerror}); give another place") from error
    (model.to_pt if is_checkpoint else model.to_orbax)(target)
    return model
