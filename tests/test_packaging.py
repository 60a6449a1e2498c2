"""What a release is made of says the same everywhere."""

import re
import tomllib

import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {
    "isal": "python-isal",
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
}
"""Names that a package has on conda-forge and bioconda, by its name on PyPI, where the two differ."""


def test_the_conda_recipe() -> None:
    recipe = yaml.safe_load((ROOT / "packaging" / "recipe.yaml").read_text())
    wanted = [re.fullmatch(r"([\w-]+)(>=[\d.]+(?:,<\d+)?)", one).groups() for one in PROJECT["dependencies"]]
    ours = [f"{CONDA_NAMES.get(name, name)} {least}" for name, least in wanted]
    assert recipe["requirements"]["run"] == [f"python {PROJECT['requires-python']}", *ours]
    assert recipe["context"]["version"] == PROJECT["version"]
    [script] = [f"{name} = {place}" for name, place in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == [script]


def test_the_extras_of_the_image() -> None:
    text = (ROOT / "packaging" / "Dockerfile").read_text()
    [always], [with_card] = re.findall(r"/src\[([\w,]+)\$more\]", text), re.findall(r"cuda\) more=,(\w+)", text)
    assert {*always.split(","), with_card} <= PROJECT["optional-dependencies"].keys()


def test_the_versions() -> None:
    [cited] = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited == PROJECT["version"]
