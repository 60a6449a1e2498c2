"""`spliceai-jax report`."""

from collections.abc import Callable

from spliceai_jax.commands.flags import Arguments, Commands, add_command
from spliceai_jax.display import say


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "report",
        run,
        "make the page about a run, finished or under way: report.html in its folder",
        "spliceai-jax report out/SpliceAI_worm_400_0_rs42",
    )
    parser.add_argument("root", metavar="RUN_FOLDER", help="the run's folder, or the one above it")


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    import jax

    from spliceai_jax.report.writing import write_report
    from spliceai_jax.runs.record import read_run

    shown = read_run(**arguments)
    if not shown.finished:
        jax.config.update("jax_platforms", "cpu")  # the run may be at work on the accelerator, and have filled it
    say(str(write_report(shown)))
