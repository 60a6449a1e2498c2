"""Finds the packages; everything else about the distribution is in pyproject.toml."""

from setuptools import find_packages, setup

# The converter stands at the top of the repository and is installed within the package.
setup(
    packages=[*find_packages(include=["spliceai_jax", "spliceai_jax.*"]), "spliceai_jax.convert"],
    package_dir={"spliceai_jax.convert": "convert"},
)
