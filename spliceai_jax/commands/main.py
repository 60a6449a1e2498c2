# PYTHON_ARGCOMPLETE_OK
"""The `spliceai-jax` command: its parser, and errors, warnings and signals turned into lines and exit statuses."""

import argparse
import logging
import os
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from spliceai_jax import startup
from spliceai_jax.commands import calibrate, compare, create_data, evaluate, models, predict, report, transfer
from spliceai_jax.commands.flags import Parser, add_debug, in_flags
from spliceai_jax.display import complain, say, tell
from spliceai_jax.errors import SpliceAIError, SpliceAIWarning

COMMANDS = (create_data, transfer, predict, evaluate, compare, calibrate, models, report)


class _Versions(argparse.Action):
    """Prints what a bug report needs."""

    def __call__(self, *_: Any) -> NoReturn:
        raise SystemExit(_guarded(_show_versions, lambda text: text, debug=False))


def _show_versions() -> None:
    import jax  # takes seconds

    from spliceai_jax.runs.session import versions

    try:
        kinds = Counter(f"{device.platform} ({device.device_kind})" for device in jax.devices())
        devices = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    except (RuntimeError, AssertionError) as error:  # an AssertionError: a plugin of JAX is not installed
        devices = f"none {f'({error})' if str(error) else ''}".rstrip()
    for name, fact in {**versions(), "devices": devices}.items():
        say(f"{name} {fact}")


_COMPUTING = ("calibrate", "compare", "evaluate", "predict", "transfer")
"""The commands that compile programs, which the next one finds again."""


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
    parser.set_defaults(parsers=commands.choices)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 2 for an error, 128 + n when stopped by signal n."""
    parsed, unknown = make_parser().parse_known_args(argv)
    if unknown:  # reported by the command's own parser, which names its --help
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    arguments = vars(parsed)
    command = arguments.pop("command")
    wording = in_flags(command, arguments.pop("parsers"))
    run, debug = arguments.pop("run"), arguments.pop("debug", False)
    arguments.pop("parser")

    if not debug:  # orbax's tasks are named there one by one when a checkpoint cannot be written; its error is told
        logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)

    def work() -> None:
        if command in _COMPUTING:
            startup.keep_compiled_programs()
        run(arguments, wording)

    with warnings.catch_warnings():
        warnings.simplefilter("default")  # PYTHONWARNINGS=error would make errors of notes
        warnings.showwarning = _shown(wording, debug)
        status = _guarded(work, wording, debug)
    if status and (processes := _processes()):
        processes.leave(status)
    return status


def _guarded(work: Callable[[], None], wording: Callable[[str], str], debug: bool) -> int:
    """Do the work; print an exception as one line, and return the exit status."""
    # SystemExit comes from `say`, when nobody reads on.
    try:
        work()
    except SpliceAIError as error:
        return _fail(error, wording(str(error)), error.exit_status, debug)
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt as error:
        return _fail(error, "stopped", 130, debug)
    except Exception as error:
        if reason := _of_the_environment(error):
            return _fail(error, reason, 2, debug)
        where = "; ".join(getattr(error, "__notes__", ())) or "--debug shows where it came from"
        return _fail(error, f"unexpected {type(error).__name__}: {error}; {where}", 2, debug)
    return 0


def _fail(error: BaseException, text: str, status: int, debug: bool) -> int:
    if debug:
        tell("".join(traceback.format_exception(error)).rstrip("\n"))
    name = processes.name() if (processes := _processes()) else ""
    complain(f"{name}{text}")
    return status


def _of_the_environment(error: Exception) -> str | None:
    """Return what is wrong with the environment variables that JAX reads, if that is why it failed."""
    if "JAX flag" in str(error):
        return f"the environment: {error}; give another value, or unset the variable"
    asked = os.environ.get("JAX_PLATFORMS")
    if not asked or "jax" not in sys.modules:
        return None
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as reason:  # an AssertionError: a plugin of JAX is not installed
        said = f" ({reason})" if str(reason) else ""
        return f"JAX_PLATFORMS is {asked}, and JAX finds no such devices here{said}; unset it, or set it to cpu"
    return None


def _shown(wording: Callable[[str], str], debug: bool) -> Callable[..., None]:
    def show(message: Warning | str, category: type[Warning], filename: str, line: int, *_: Any) -> None:
        if issubclass(category, SpliceAIWarning):
            complain(f"note: {wording(str(message))}")
        elif debug:
            tell(warnings.formatwarning(message, category, filename, line).rstrip("\n"))

    return show


def _processes() -> Any:
    """Return the module `processes` if there can be several; it imports jax, which not all commands do."""
    if "jax" not in sys.modules:
        return None
    from spliceai_jax import processes

    return processes


def program() -> int:
    """Run the `spliceai-jax` command and return its exit status."""
    startup.open_standard_streams()
    startup.restart_in_huge_pages()
    return main()


if __name__ == "__main__":
    sys.exit(program())
