"""Which `.pt` files are meant where models are given: files, or folders of them."""

from collections.abc import Sequence
from pathlib import Path

from spliceai_jax.errors import WeightsError


def model_files(given: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the files that are meant; a folder stands for all `.pt` files in it, in the order of their names.

    Raises:
        WeightsError: A folder holds none.
    """
    found: list[Path] = []
    for path in map(Path, [given] if isinstance(given, str | Path) else given):
        files = sorted(path.glob("*.pt")) if path.is_dir() else [path]
        if not files:
            raise WeightsError(f"{path}: this folder holds no .pt file; give .pt files, or a folder of them")
        found += files
    return tuple(found)
