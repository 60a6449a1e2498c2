"""Fine-tune OpenSpliceAI splice-site models in JAX, and score genomes with them.

The public names are declared in `__init__.pyi`, and imported when they are first used: jax and torch take seconds that
`spliceai-jax --help` need not wait for.
"""

import importlib
import importlib.metadata
import re
from pathlib import Path
from typing import Any

_STUB = Path(__file__).with_suffix(".pyi").read_text()
_MODULES = {name: module for module, name in re.findall(r"^from (\.[\w.]+) import (\w+) as", _STUB, re.MULTILINE)}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


__version__ = importlib.metadata.version("spliceai-jax")
