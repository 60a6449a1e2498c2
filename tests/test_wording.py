"""No message reaches a user of the command line in Python's form: every argument named in one becomes a flag.

The messages are all strings in the package's source but docstrings.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from test_commands import PARSERS

from spliceai_jax.commands.flags import in_flags

COMMANDS_OF = {
    "data_sets/": ("create-data", "transfer"),
    "fine_tuning/": ("transfer",),
    "processes": ("transfer",),
    "report/compare": ("compare",),
    "scoring/predict": ("predict",),
}
"""Modules -> the commands that show their messages; those of the others are for some command."""

NO_FLAGS = {
    # Python's interface alone.
    "region", "pad", "logits", "to_pt", "temperature", "start", "evaluate",
    # Fields of files.
    "epoch", "batch", "history", "measures", "sessions",
}  # fmt: skip
"""What stands in backquotes in messages and is no flag."""


def messages(path: Path) -> Iterator[str]:
    """The strings of a module; what an f-string holds in braces stands as its expression."""
    tree = ast.parse(path.read_text())
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            left_out.update(id(part) for part in ast.walk(node) if part is not node)
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def commands_of(module: str) -> tuple[str, ...]:
    if module.startswith("commands/"):
        name = Path(module).stem.replace("_", "-")
        return (name,) if name in PARSERS else ()
    return next((found for prefix, found in COMMANDS_OF.items() if module.startswith(prefix)), tuple(PARSERS))


MODULES = sorted(path for folder in ("spliceai_jax", "convert") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_argument_in_a_message_becomes_a_flag(path: Path) -> None:
    module = str(path.relative_to(ROOT)).removeprefix("spliceai_jax/")
    commands = commands_of(module)
    options = {option for parser in PARSERS.values() for action in parser._actions for option in action.option_strings}
    for message in messages(path):
        arguments = [name for name in re.findall(r"`(\w+)(?:=[^`]*)?`", message) if name not in NO_FLAGS]
        if not arguments:
            continue
        shown = {command: in_flags(command, PARSERS)(message) for command in commands}
        left = {
            command: set(arguments) & set(re.findall(r"`(\w+)(?:=[^`]*)?`", text)) for command, text in shown.items()
        }
        if commands == tuple(PARSERS):  # some command must know the argument
            assert not set.intersection(*left.values()), message
        else:
            assert not any(left.values()), (left, message)
        flags = {flag for text in shown.values() for flag in re.findall(r"(?<![\w-])--[a-z][\w-]+", text)}
        assert flags <= options, (flags - options, message)


def test_messages_are_found() -> None:
    """The test above reads what it should."""
    [processes] = [path for path in MODULES if path.name == "processes.py"]
    found = "\n".join(messages(processes))
    assert "or `num_processes=1` to run alone" in found
    assert "process_id=${rank}" in found
    assert "Connect to the other processes" not in found  # a docstring
