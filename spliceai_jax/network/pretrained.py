"""A trained network in memory: read from a `.pt` file or an orbax checkpoint, used, and written again."""

import hashlib
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from spliceai_jax import convert
from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.errors import SettingsError, SpliceAIError, SpliceAIWarning, WeightsError, some
from spliceai_jax.files import write_whole
from spliceai_jax.network.model import Variables
from spliceai_jax.network.model_files import CARD, TEMPERATURE, beside, is_checkpoint
from spliceai_jax.network.predictor import Predictor
from spliceai_jax.network.temperature import COLLECTION, Temperature, in_words, read_temperature


@dataclass(frozen=True)
class Pretrained(Predictor):
    """A network's weights, its size, and its temperature if it is calibrated.

    Attributes:
        flanking_size: 80, 400, 2000 or 10000.
        variables: `{"params": ..., "batch_stats": ...}`, for `SpliceAI(ARCHITECTURES[flanking_size]).apply`.
        temperature: What the logits of neither, acceptor and donor are divided by before the softmax; None: the scores
            are the network's own.
    """

    flanking_size: int
    variables: Variables = field(repr=False)
    temperature: Temperature | None = None

    @classmethod
    def load(cls, path: str | Path, flanking_size: int | None = None, calibrated: bool = False) -> "Pretrained":
        """Load a `.pt` file (see `from_pt`), or an Orbax checkpoint, the folder that `to_orbax` writes.

        Arguments and errors are those of `from_pt`.
        """
        if not is_checkpoint(Path(path)):
            return cls.from_pt(path, flanking_size, calibrated)
        model = cls.from_orbax(path, flanking_size)
        if not calibrated:
            return model
        return replace(model, temperature=read_temperature(Path(path), model.fingerprint))

    @classmethod
    def load_weights(cls, path: str | Path, flanking_size: int | None = None) -> "Pretrained":
        """Load a `.pt` file without its temperature, if it holds one: a warning says so; or an Orbax checkpoint.

        Arguments and errors are those of `from_pt`.
        """
        if is_checkpoint(Path(path)):
            return cls.from_orbax(path, flanking_size)
        size, variables, temperature = convert.read_calibrated_pt(path, flanking_size)
        if temperature:
            said = f"{path}: a calibrated model; its temperature is left out here, its weights alone are used"
            warnings.warn(said, SpliceAIWarning, stacklevel=2)
        return cls(size, variables)

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
            temperature = read_temperature(Path(path), hashlib.sha256(Path(path).read_bytes()).hexdigest())
        return cls(size, variables, temperature)

    @property
    def scoring_variables(self) -> Variables:
        """The variables, with the temperature among them if there is one; `SpliceAI.apply` takes both."""
        if self.temperature is None:
            return self.variables
        return {**self.variables, COLLECTION: {"temperature": np.array(self.temperature, np.float32)}}

    @property
    def _networks(self) -> tuple[Variables, ...]:
        """The scoring variables, of this one network."""
        return (self.scoring_variables,)

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

    def sha256_at(self, path: Path) -> str:
        """Return the digest that says which model lies at the path that this one was read from.

        It is the SHA-256 of a `.pt` file. Of an Orbax checkpoint it is the `fingerprint`, since the folder's own files
        hold the time at which they were written.
        """
        return self.fingerprint if is_checkpoint(path) else hashlib.sha256(path.read_bytes()).hexdigest()

    @property
    def not_finite(self) -> tuple[str, ...]:
        """The tensors, under the names that OpenSpliceAI gives them, that hold infinite values or no numbers."""
        flat = flatten_dict(self.variables)
        tensors = convert.tensor_table(ARCHITECTURES[self.flanking_size])
        return tuple(tensor.key for tensor in tensors if not np.isfinite(flat[tensor.path]).all())

    @classmethod
    def from_orbax(cls, path: str | Path, flanking_size: int | None = None, finite: bool = True) -> "Pretrained":
        """Load a checkpoint directory written by `to_orbax`.

        Arguments:
            path: The directory.
            flanking_size: The flanking size that the weights must have; None accepts any.
            finite: Whether to refuse values that are infinite or not a number.

        Raises:
            WeightsError: The directory is not such a checkpoint, or its weights are not those that were asked for.
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
        if flanking_size not in (None, size):
            raise WeightsError(
                f"{path}: these weights have a flanking size of {size}, not {flanking_size}; give "
                f"`flanking_size={size}`"
            )
        model = cls(size, variables)
        if finite and (odd := model.not_finite):
            raise WeightsError(f"{path}: holds values that are infinite or not a number, in {some(odd)}; make it again")
        return model

    def to_orbax(self, path: str | Path) -> None:
        """Write an orbax checkpoint directory, which must not exist."""
        from spliceai_jax.network import orbax_files

        orbax_files.save_variables(Path(path), self.variables)


def convert_weights(source: str | Path, target: str | Path) -> Pretrained:
    """Turn a `.pt` file into an orbax checkpoint directory, or such a directory into a `.pt` file.

    The temperature and the card that lie beside `source` are copied, since they name the model by a digest that is that
    of `target` too. It is not if another program wrote the `.pt` file; a warning then says that they are left behind.

    Returns:
        The model.

    Raises:
        WeightsError: `source` is neither, or a file beside it cannot be read.
        SpliceAIError: `target`, or a file that would lie beside it, exists; `target` cannot be written, or would be a
            directory with the name of a `.pt` file.
    """
    source, target = Path(source), Path(target)
    from_orbax = source.is_dir()
    model = Pretrained.from_orbax(source) if from_orbax else Pretrained.load_weights(source)
    name = target.stem if from_orbax else target.name
    copies = {target.parent / (name + ending): content for ending, content in _about(source, model).items()}
    for path in (target, *copies):
        if path.exists():
            raise SpliceAIError(f"{path}: exists already; give a name that does not")
    if not from_orbax and target.suffix.lower() == ".pt":
        raise SpliceAIError(
            f"{target}: would be a folder, an Orbax checkpoint, since {source} is a .pt file; give a name that does "
            "not end in .pt, or copy the file if you want another .pt file"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise SpliceAIError(f"{target}: cannot be written ({error.strerror}); give another place") from error
    (model.to_pt if from_orbax else model.to_orbax)(target)
    for path, content in copies.items():
        write_whole(path, content)
    return model


def _about(source: Path, model: Pretrained) -> dict[str, bytes]:
    """Return the files beside a model that will be right beside what is made of it: their ending -> their content."""
    found = {}
    for ending in (TEMPERATURE, CARD):
        path = beside(source, ending)
        if not path.is_file():
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read ({error.strerror}); make it readable, or move it") from error
        if model.fingerprint.encode() in content:
            found[ending] = content
        elif model.sha256_at(source).encode() in content:
            warnings.warn(
                f"{path}: is left behind; it names {source} by its SHA-256, which the weights lose when they are "
                "written anew, since another program wrote that file",
                SpliceAIWarning,
                stacklevel=3,
            )
    return found
