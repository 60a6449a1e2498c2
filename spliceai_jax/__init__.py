"""Fine-tune OpenSpliceAI splice-site models in JAX, and score genomes with them.

The public names are declared in `__init__.pyi`, and imported when they are first used: jax and torch take seconds that
`spliceai-jax --help` need not wait for.
"""

import importlib.metadata

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = importlib.metadata.version("spliceai-jax")
