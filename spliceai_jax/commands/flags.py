"""What the commands' parsers share, and the translation of arguments' names into flags."""

import argparse
import re
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, get_args

from spliceai_jax.architecture import ARCHITECTURES, Precision
from spliceai_jax.display import complain, say
from spliceai_jax.scoring.settings import BedFormName

AddFlag = Callable[..., argparse.Action]
"""`add_argument` of a parser or of a group of flags."""

Arguments = dict[str, Any]
"""The values of a command's flags, by the names of the settings."""

Run = Callable[[Arguments, Callable[[str], str]], None]
"""Runs a command with its arguments; the second argument turns names of arguments in a text into flags."""

Commands = argparse._SubParsersAction
"""What `add_subparsers` returns, which a command adds its parser to."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose flags cannot be shortened."""

    def __init__(self, **options: Any) -> None:
        """Take argparse's options."""
        super().__init__(allow_abbrev=False, **options)
        self.color = False  # Python 3.14 colours the help where FORCE_COLOR asks for it; `say` would print the escapes

    def error(self, message: str) -> NoReturn:
        """Print one line, without the usage, and exit."""
        complain(f"{message}; see {self.prog} --help")
        raise SystemExit(2)

    def print_help(self, file: Any = None) -> None:
        """Print the help."""
        say(self.format_help().rstrip("\n"))


class OneModel(argparse.Action):
    """Stores the only model; several are refused, where of other flags the last one counts."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Store it."""
        before = getattr(namespace, self.dest, None)
        given = dict.fromkeys([before, *values] if before else values)
        if len(given) > 1:
            raise argparse.ArgumentError(self, f"takes one model, and {len(given)} are given: {', '.join(given)}")
        setattr(namespace, self.dest, values[0])


def add_models(add: AddFlag, dest: str) -> None:
    """Add --model, which takes several."""
    add(
        "--model",
        "-m",
        required=True,
        action="extend",
        nargs="+",
        dest=dest,
        metavar="PT",
        help="weights: .pt files, folders of them, or Orbax checkpoints that convert has made; of several, the mean of "
        "the models' probabilities is taken",
    )


def add_command(commands: Commands, name: str, run: Run, summary: str, example: str) -> Parser:
    """Add a command and return its parser."""
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example: {example}",
        argument_default=argparse.SUPPRESS,  # flags not given are left to the settings' own defaults
    )
    parser.set_defaults(run=run, parser=parser)
    add_debug(parser.add_argument)
    return parser


def add_debug(add: AddFlag, **options: Any) -> None:
    """Add --debug."""
    add("--debug", action="store_true", help="show the traceback of an error", **options)


def add_flanking_size(add: AddFlag) -> None:
    """Add --flanking-size."""
    add(
        "--flanking-size",
        "-f",
        type=int,
        choices=ARCHITECTURES,
        help="the flanking size that the weights must have (default: any)",
    )


def add_precision(add: AddFlag) -> None:
    """Add --precision."""
    add(
        "--precision",
        choices=get_args(Precision),
        help="how convolutions compute: tf32 and bfloat16 are faster on GPUs and TPUs (default: float32)",
    )


def add_bed(add: AddFlag) -> None:
    """Add --bed."""
    add(
        "--bed",
        choices=get_args(BedFormName),
        help="form of the BED files: openspliceai, as OpenSpliceAI writes them, with an acceptor's row at the last "
        "base of its intron; or ucsc, BED6 for genome browsers, with scores from 0 to 1000 and an acceptor's row at "
        "the first base of its exon, as in data sets. A donor's row is at the last base of its exon (default: "
        "openspliceai)",
    )


def add_calibrated(add: AddFlag) -> None:
    """Add --calibrated."""
    add(
        "--calibrated",
        action="store_true",
        help="apply the temperature in the file next to each model, which transfer and calibrate write; a model file "
        "that holds a temperature itself needs no flag",
    )


def add_sequences_of_sets(add: AddFlag) -> None:
    """Add --test-sequences and --validation-sequences."""
    add(
        "--test-sequences",
        type=names,
        metavar="NAME,...",
        help="the sequences whose genes are the test set (default: drawn at random)",
    )
    add(
        "--validation-sequences",
        type=names,
        metavar="NAME,...",
        help="the sequences whose genes are the validation set (default: genes drawn from the training set)",
    )


def names(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas between them."""
    return tuple(name.strip() for name in text.split(","))


def in_flags(command: str, parsers: Mapping[str, argparse.ArgumentParser]) -> Callable[[str], str]:
    """Return a function that writes arguments in backquotes as flags.

    `learning_rate` becomes --learning-rate, `recipe='best'` --recipe best, `resume=True` --resume and
    `early_stopping=False` --no-early-stopping. The flags are the command's own; next, those of a command that the text
    names, as `spliceai-jax create-data`; then those of the commands whose work it does too. Other names stay as they
    are.
    """
    flags = {name: _flags(parser) for name, parser in parsers.items()}

    def worded(text: str) -> str:
        named = [name for name in re.findall(r"`spliceai-jax ([\w-]+)", text) if name in flags]
        known = ChainMap(*(flags[name] for name in (command, *named, *_DOES_TOO.get(command, ()))))

        def flag(match: re.Match[str]) -> str:
            name, value = match.groups()
            if name not in known:
                return match[0]
            if value in (None, "True"):
                return known[name]
            if value == "False":
                return known[name].replace("--", "--no-", 1)
            return f"{known[name]} {value.strip(chr(39))}"

        return re.sub(r"`(\w+)(?:=([^`]+))?`", flag, text)

    return worded


_DOES_TOO = {"transfer": ("create-data",)}
"""A command -> those whose work it does too, and whose errors it may show."""


def _flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    return {
        action.dest: next(option for option in action.option_strings if option.startswith("--"))
        for action in parser._actions
        if action.option_strings
    }
