"""Fine-tune OpenSpliceAI splice-site models in JAX, and score genomes with them."""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spliceai_jax.architecture import ARCHITECTURES, Architecture
    from spliceai_jax.errors import SpliceAIError, SpliceAIWarning
    from spliceai_jax.evaluation import evaluate
    from spliceai_jax.fine_tuning import TransferResult, transfer
    from spliceai_jax.history import History
    from spliceai_jax.metrics import Metrics, SiteMetrics
    from spliceai_jax.model import SpliceAI
    from spliceai_jax.prediction import Predictions, predict
    from spliceai_jax.pretrained import Pretrained
    from spliceai_jax.recipes import RECIPES, Recipe
    from spliceai_jax.settings import PredictSettings, TransferSettings

_HOMES = {
    "ARCHITECTURES": "architecture",
    "Architecture": "architecture",
    "History": "history",
    "Metrics": "metrics",
    "PredictSettings": "settings",
    "Predictions": "prediction",
    "Pretrained": "pretrained",
    "RECIPES": "recipes",
    "Recipe": "recipes",
    "SiteMetrics": "metrics",
    "SpliceAI": "model",
    "SpliceAIError": "errors",
    "SpliceAIWarning": "errors",
    "TransferResult": "fine_tuning",
    "TransferSettings": "settings",
    "evaluate": "evaluation",
    "predict": "prediction",
    "transfer": "fine_tuning",
}

__all__ = [
    "ARCHITECTURES",
    "RECIPES",
    "Architecture",
    "History",
    "Metrics",
    "PredictSettings",
    "Predictions",
    "Pretrained",
    "Recipe",
    "SiteMetrics",
    "SpliceAI",
    "SpliceAIError",
    "SpliceAIWarning",
    "TransferResult",
    "TransferSettings",
    "evaluate",
    "predict",
    "transfer",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: jax and torch take seconds that `--help` need not wait for."""
    if name == "__version__":
        return importlib.metadata.version("spliceai-jax")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
