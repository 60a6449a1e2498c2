"""The command line that is equivalent to settings."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def equivalent_command(
    name: str, settings: "DataclassInstance", always: Collection[str] = (), files: Collection[str] = ()
) -> str:
    """Return the command line of the command `name` that makes these settings.

    Arguments:
        name: The command.
        settings: The settings, whose fields have the flags' names.
        always: The fields that are given even at their defaults.
        files: The fields that hold one value or several, which follow their flag; other lists have commas.
    """
    words = ["spliceai-jax", name]
    for field in fields(settings):
        value, flag = getattr(settings, field.name), f"--{field.name.replace('_', '-')}"
        if value == field.default and field.name not in always:
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif field.name in files and not isinstance(value, str):
            words += [flag, *map(str, value if isinstance(value, Sequence) else [value])]
        elif isinstance(value, tuple | list):
            words += [flag, ",".join(value)]
        else:
            words += [flag, str(value)]
    return shlex.join(words)
