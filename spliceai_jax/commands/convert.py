"""`spliceai-jax convert`."""

from collections.abc import Callable

from spliceai_jax.commands.flags import Arguments, Commands, add_command
from spliceai_jax.output import say


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "convert",
        run,
        "turn a .pt file into an Orbax checkpoint, which is a folder, or such a folder into a .pt file",
        "spliceai-jax convert model_best.pt model_best_orbax",
    )
    parser.add_argument("source", metavar="IN", help=".pt file or Orbax checkpoint")
    parser.add_argument("target", metavar="OUT", help="what to make of it, the other of the two; must not exist")


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    from spliceai_jax.network.pretrained import convert_weights

    model = convert_weights(**arguments)
    say(f"{arguments['target']}: the {model.flanking_size}-nt model of {arguments['source']}")
