# PYTHON_ARGCOMPLETE_OK
"""The `spliceai-jax` command: its parser, and errors, warnings and signals turned into lines and exit statuses."""

import argparse
import os
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from spliceai_jax import startup
from spliceai_jax.commands import calibrate, compare, convert, create_data, evaluate, inspect, predict, report, transfer
from spliceai_jax.commands.flags import Parser, add_debug, in_flags
from spliceai_jax.errors import SpliceAIError, SpliceAIWarning

COMMANDS = (create_data, transfer, predict, evaluate, compare, calibrate, convert, inspect, report)


class _Versions(argparse.Action):
    """Prints what a bug report needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import jax  # takes seconds

        from spliceai_jax.runs.versions import versions

        try:
            kinds = Counter(f"{device.platform} ({device.device_kind})" for device in jax.devices())
            devices = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
        except RuntimeError as error:
            devices = f"none ({error})"
        for name, fact in {**versions(), "devices": devices}.items():
            print(name, fact)
        parser.exit()


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="spliceai-jax",
        description="Fine-tune OpenSpliceAI splice-site models in JAX, and score genomes with them.",
        epilog="example: spliceai-jax transfer --help",
    )
    parser.add_argument(
        "--version",
        action=_Versions,
        nargs=0,
        default=argparse.SUPPRESS,
        help="print versions and devices, which a bug report needs",
    )
    add_debug(parser.add_argument)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 2 for an error, 128 + n when stopped by signal n."""
    parsed, unknown = make_parser().parse_known_args(argv)
    if unknown:  # reported by the command's own parser, which names its --help
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    arguments = vars(parsed)
    arguments.pop("command")
    run, parser, debug = arguments.pop("run"), arguments.pop("parser"), arguments.pop("debug", False)
    if arguments.pop("compilation_cache", False):
        startup.keep_compiled_programs()
    wording = in_flags(parser)
    with warnings.catch_warnings():
        warnings.showwarning = _shown(wording, debug, warnings.showwarning)
        status = _guarded(lambda: run(arguments, wording), wording, debug)
    if status and (processes := _processes()):
        processes.leave(status)
    return status


def _guarded(work: Callable[[], None], wording: Callable[[str], str], debug: bool) -> int:
    """Do the work; print an exception as one line, and return the exit status."""
    try:
        work()
    except SpliceAIError as error:
        return _fail(error, wording(str(error)), error.exit_status, debug)
    except KeyboardInterrupt as error:
        return _fail(error, "stopped", 130, debug)
    except Exception as error:
        where = "; ".join(getattr(error, "__notes__", ())) or "--debug shows where it came from"
        return _fail(error, f"unexpected {type(error).__name__}: {error}; {where}", 2, debug)
    return 0


def _fail(error: BaseException, text: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    name = processes.name() if (processes := _processes()) else ""
    print(f"spliceai-jax: {name}{' '.join(text.split())}", file=sys.stderr, flush=True)
    return status


def _shown(wording: Callable[[str], str], debug: bool, plain: Callable[..., None]) -> Callable[..., None]:
    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, SpliceAIWarning):
            print(f"spliceai-jax: note: {wording(str(message))}", file=sys.stderr, flush=True)
        elif debug:
            plain(message, category, *rest, **more)

    return show


def _processes() -> Any:
    """Return the module `processes` if there can be several; it imports jax, which not all commands do."""
    if "jax" not in sys.modules:
        return None
    from spliceai_jax import processes

    return processes


def program() -> int:
    """Run the `spliceai-jax` command and return its exit status."""
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        import argcomplete

        argcomplete.autocomplete(make_parser())
    startup.restart_in_huge_pages()
    return main()


if __name__ == "__main__":
    sys.exit(program())
