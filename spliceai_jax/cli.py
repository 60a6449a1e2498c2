# PYTHON_ARGCOMPLETE_OK
"""The command line: a thin skin over the Python API."""

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn, get_args

from spliceai_jax import startup
from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.errors import SpliceAIError, SpliceAIWarning
from spliceai_jax.recipes import RECIPES, LossName
from spliceai_jax.schedules import SCHEDULERS
from spliceai_jax.settings import Parallel, Precision, PredictSettings, StrandChoice, TransferSettings


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage."""
        self.exit(2, f"spliceai-jax: {message}; see {self.prog} --help\n")


class _Versions(argparse.Action):
    """What a bug report needs; imported when asked for, since it takes seconds."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import jax

        from spliceai_jax.record import versions

        try:
            kinds = Counter(f"{device.platform} ({device.device_kind})" for device in jax.devices())
            devices = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
        except RuntimeError as error:
            devices = f"none ({error})"
        for name, fact in {**versions(), "devices": devices}.items():
            print(name, fact)
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="spliceai-jax",
        description="Fine-tune OpenSpliceAI splice-site models in JAX, and score genomes with them.",
        epilog="example: spliceai-jax transfer --help",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action=_Versions, nargs=0, help="print versions and devices, which a bug report needs"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_transfer(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_convert(commands)
    _add_inspect(commands)
    _add_report(commands)
    return parser


def _add_command(commands: Any, name: str, run: Any, summary: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example: {example}",
        argument_default=argparse.SUPPRESS,  # what is not given is left to the settings' own defaults
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_compilation_cache(add: Callable[..., argparse.Action]) -> None:
    add(
        "--compilation-cache",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep compiled programs for later runs in the user's cache folder",
    )


def _add_transfer(commands: Any) -> None:
    parser = _add_command(
        commands,
        "transfer",
        _transfer,
        "fine-tune a model on a data set and keep the best",
        "spliceai-jax transfer -m model_400nt_rs10.pt -train dataset_train.h5 -test dataset_test.h5 -o out -p worm "
        "--recipe best",
    )
    recipes = "; ".join(
        f"{name}: {r.epochs} epochs, {r.loss}, {r.rates}, "
        f"{'all weights' if r.unfreeze_all else f'last {r.unfreeze}'}"
        f"{', with the faults of that release' if r.frozen_batchnorm == 'batch' else ''}"
        for name, r in RECIPES.items()
    )
    add = parser.add_argument_group("files").add_argument
    add("--pretrained-model", "-m", required=True, metavar="PT", help="weights to start from")
    add("--train-dataset", "-train", required=True, metavar="H5", help="data set to train on")
    add(
        "--validation-dataset",
        metavar="H5",
        help="data set whose loss picks the best model (default: the training file's sibling with 'validation' for "
        "'train' in its name, else a tenth of the training file)",
    )
    add("--test-dataset", "-test", required=True, metavar="H5", help="data set to test on")
    add("--output-dir", "-o", required=True, metavar="DIR", help="folder that the run's own folder is made in")
    add("--project-name", "-p", required=True, metavar="NAME", help="part of that folder's name")
    add("--exp-num", "-e", type=int, metavar="N", help="likewise (default: 0)")
    add(
        "--resume",
        action="store_true",
        help="go on with the run in the output folder; start it where there is none",
    )
    add("--tensorboard", action="store_true", help="write TensorBoard events too (needs spliceai-jax[tensorboard])")
    add = parser.add_argument_group("what trains, and how").add_argument
    add("--recipe", choices=RECIPES, help=f"defaults of the flags below (default: openspliceai); {recipes}")
    add(
        "--unfreeze",
        "-u",
        type=int,
        metavar="N",
        help="train the last N residual units; 0: the head alone (default: the recipe's)",
    )
    add("--unfreeze-all", "-A", action=argparse.BooleanOptionalAction, help="train everything")
    add("--loss", "-l", choices=get_args(LossName), help="training loss (default: the recipe's)")
    add(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="where the schedule starts, or its peak (default: the recipe's)",
    )
    add("--scheduler", "-s", choices=SCHEDULERS, help="learning-rate schedule (default: the recipe's)")
    add("--weight-decay", type=float, metavar="W", help="AdamW's weight decay (default: the recipe's)")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="windows a batch, over all devices (default: the recipe's)",
    )
    add("--epochs", "-n", type=int, metavar="N", help="epochs at most (default: the recipe's)")
    add(
        "--early-stopping",
        "-E",
        action=argparse.BooleanOptionalAction,
        help="stop when the validation loss no longer falls",
    )
    add(
        "--patience",
        "-P",
        type=int,
        metavar="N",
        help="epochs to wait for a better validation loss (default: the recipe's)",
    )
    add("--random-seed", "-r", type=int, metavar="N", help="seed of everything random (default: 42)")
    add = parser.add_argument_group("how it is computed").add_argument
    add(
        "--flanking-size",
        "-f",
        type=int,
        choices=ARCHITECTURES,
        help="checked against the weights (default: theirs)",
    )
    add("--precision", choices=get_args(Precision), help="what convolutions compute in (default: float32)")
    add("--parallel", choices=get_args(Parallel), help="how several devices are used (default: jit)")
    add(
        "--kept-trunk",
        type=float,
        metavar="GB",
        help="room on disk, at most, for what the frozen part of the network makes of each window, computed once; 0: "
        "compute it every time (default: 20 on CPUs, 0 elsewhere)",
    )
    _add_compilation_cache(add)
    add = parser.add_argument_group("several processes").add_argument
    add(
        "--coordinator",
        metavar="HOST:PORT",
        help="where the processes of a run on several hosts meet, on the host of process 0 (default: known on TPU pods "
        "and under SLURM and Open MPI)",
    )
    add("--num-processes", type=int, metavar="N", help="how many there are; 1: this one works alone")
    add("--process-id", type=int, metavar="I", help="which one this is, 0 to N-1")


def _add_predict(commands: Any) -> None:
    parser = _add_command(
        commands,
        "predict",
        _predict,
        "score every position of a genome, or of its genes, and write BED files",
        "spliceai-jax predict -i genome.fa.gz -m model_best.pt -a annotation.gff3.gz -o predictions -t 0.1",
    )
    add = parser.add_argument
    add("--input-sequence", "-i", required=True, metavar="FASTA", help="genome, plain or compressed by gzip or bgzip")
    add(
        "--model",
        "-m",
        required=True,
        action="append",
        dest="models",
        metavar="PT",
        help="weights; given several times, the mean of the models' probabilities is taken",
    )
    add("--output-dir", "-o", required=True, metavar="DIR", help="folder that SpliceAI_5000_SIZE is made in")
    add("--flanking-size", "-f", type=int, choices=ARCHITECTURES, help="checked against the weights (default: theirs)")
    add("--threshold", "-t", type=float, metavar="SCORE", help="least score that is written (default: 1e-6)")
    add(
        "--annotation-file",
        "--annotation",
        "-a",
        metavar="GFF3",
        help="score its genes, each on its strand (default: whole sequences)",
    )
    add(
        "--gene-flank",
        type=int,
        metavar="N",
        help="bases to each side of a gene that are scored with it (default: half the flanking size)",
    )
    add(
        "--strand",
        choices=get_args(StrandChoice),
        help="strands to score (default: with an annotation both, without one +)",
    )
    add("--bigwig", action="store_true", help="write a bigWig track a kind of site and strand too (needs pyBigWig)")
    _add_compilation_cache(parser.add_argument)


def _add_evaluate(commands: Any) -> None:
    parser = _add_command(
        commands,
        "evaluate",
        _evaluate,
        "score a model on a data set",
        "spliceai-jax evaluate -m model_best.pt -test dataset_test.h5",
    )
    parser.add_argument("--model", "-m", required=True, metavar="PT", help="weights")
    parser.add_argument("--test-dataset", "-test", required=True, metavar="H5", help="data set")
    parser.add_argument(
        "--flanking-size",
        "-f",
        type=int,
        choices=ARCHITECTURES,
        default=None,
        help="checked against the weights",
    )
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")
    _add_compilation_cache(parser.add_argument)


def _add_convert(commands: Any) -> None:
    parser = _add_command(
        commands,
        "convert",
        _convert,
        "turn a .pt file into an orbax checkpoint directory, or one into a .pt file",
        "spliceai-jax convert model_best.pt model_best_orbax",
    )
    parser.add_argument("source", metavar="IN", help=".pt file or checkpoint directory")
    parser.add_argument("target", metavar="OUT", help="what to make; must not exist")


def _add_inspect(commands: Any) -> None:
    parser = _add_command(
        commands,
        "inspect",
        _inspect,
        "say what a .pt file is: its size, its card, which released model",
        "spliceai-jax inspect model_best.pt",
    )
    parser.add_argument("file", metavar="FILE.pt", help="weights")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, the whole card included")


def _add_report(commands: Any) -> None:
    parser = _add_command(
        commands,
        "report",
        _report,
        "make the page about a run, finished or under way: report.html in its folder",
        "spliceai-jax report out/SpliceAI_worm_400_0_rs42/0",
    )
    parser.add_argument("folder", metavar="RUN_FOLDER", help="folder that holds the run's run.json")


def _transfer(arguments: dict[str, Any]) -> None:
    from spliceai_jax.console import ConsoleReport
    from spliceai_jax.fine_tuning import transfer

    names = {field.name for field in fields(TransferSettings)}
    settings = TransferSettings(**{name: value for name, value in arguments.items() if name in names})
    transfer(settings, ConsoleReport())


def _predict(arguments: dict[str, Any]) -> None:
    from spliceai_jax.console import ConsoleReport
    from spliceai_jax.prediction import predict

    names = {field.name for field in fields(PredictSettings)}
    predict(PredictSettings(**{name: value for name, value in arguments.items() if name in names}), ConsoleReport())


def _evaluate(arguments: dict[str, Any]) -> None:
    from spliceai_jax.console import ConsoleReport
    from spliceai_jax.evaluation import evaluate

    metrics = evaluate(arguments["model"], arguments["test_dataset"], arguments["flanking_size"], ConsoleReport())
    if arguments["json"]:
        print(json.dumps(asdict(metrics), indent=2))
        return
    print(f"{metrics.windows} windows, loss {metrics.loss:.6f}")
    print(f"{'':>8}  {'AUPRC':>6}  {'top-k':>6}  {'precision':>9}  {'recall':>6}  {'F1':>6}  {'sites':>7}")
    for kind in ("donor", "acceptor"):
        site = getattr(metrics, kind)
        print(
            f"{kind:>8}  {site.auprc:6.4f}  {site.top_k[1]:6.4f}  {site.precision:9.4f}  {site.recall:6.4f}  "
            f"{site.f1:6.4f}  {site.sites:7d}"
        )


def _convert(arguments: dict[str, Any]) -> None:
    from spliceai_jax.pretrained import Pretrained

    source, target = Path(arguments["source"]), Path(arguments["target"])
    model = Pretrained.from_orbax(source) if source.is_dir() else Pretrained.from_pt(source)
    if target.exists():
        raise SpliceAIError(f"{target}: exists already; give a name that does not")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise SpliceAIError(f"{target}: cannot be written ({error.strerror}); give another place") from error
    if source.is_dir():
        model.to_pt(target)
    else:
        model.to_orbax(target)
    print(f"{target}: the {model.flanking_size}-nt model of {source}")


def _inspect(arguments: dict[str, Any]) -> None:
    from spliceai_jax.card import inspect_pt

    found = inspect_pt(arguments["file"])
    if arguments["json"]:
        print(json.dumps(asdict(found), indent=2))
        return
    facts = {
        "flanking size": f"{found.flanking_size} nt",
        "parameters": f"{found.parameters:,}",
        "finite": f"NO: {', '.join(found.not_finite)}" if found.not_finite else "yes",
        "SHA-256": found.sha256,
        "released": "; ".join(f"OpenSpliceAI's {name}" for name in found.released_as)
        or "no, the file is none of OpenSpliceAI's 100",
        "card": found.card_problem or "none",
    }
    if (card := found.card) is not None:
        parent, train, test = card["parent"], card["datasets"]["train"], card["datasets"]["test"]
        facts["card"] = f"fine-tuned by spliceai-jax {card['versions']['spliceai-jax']} on {card['started']}"
        facts["parent"] = "; ".join(parent["released_as"]) or parent["path"]
        facts["its SHA-256"] = parent["sha256"]
        facts["trained on"] = f"{train['path']}: {train['windows']} windows"
        facts["recipe"] = f"{card['recipe']['name']}, epoch {card['epoch']} (of 0 to {card['recipe']['epochs'] - 1})"
        facts["tested on"] = f"{test['path']}: {test['windows']} windows"
        for kind in ("donor", "acceptor"):
            was, now = card["before"]["test"][kind], card["after"]["test"][kind]
            facts[f"{kind} AUPRC"] = f"{was['auprc']:.4f} before, {now['auprc']:.4f} after"
        facts["command"] = card["command"]
    width = max(map(len, facts))
    for name, fact in facts.items():
        print(f"{name:>{width}}  {fact}")


def _report(arguments: dict[str, Any]) -> None:
    import jax

    from spliceai_jax.report import read_run, write_report

    run = read_run(arguments["folder"])
    if not run.finished:
        jax.config.update("jax_platforms", "cpu")  # the run may be at work on the accelerator, and have filled it
    print(write_report(run))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 for an error, 128 + n when stopped by signal n."""
    arguments = vars(_parser().parse_args(argv))
    run, debug = arguments.pop("run"), arguments.pop("debug", False)
    if arguments.pop("compilation_cache", False):
        startup.keep_compiled_programs()
    plain = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, SpliceAIWarning):
            print(f"spliceai-jax: note: {message}", file=sys.stderr, flush=True)
        elif debug:
            plain(message, category, *rest, **more)

    warnings.showwarning = show
    status = 0
    try:
        run(arguments)
    except SpliceAIError as error:
        status = _fail(error, error.exit_status, debug)
    except KeyboardInterrupt as error:
        status = _fail(error, 130, debug, "stopped")
    except Exception as error:
        status = _fail(error, 2, debug, f"unexpected {type(error).__name__}: {error}; --debug shows where it came from")
    finally:
        warnings.showwarning = plain
    if status and (processes := _processes()):
        processes.leave(status)
    return status


def _processes() -> Any:
    """The module, where the command uses it."""
    return sys.modules.get("spliceai_jax.processes")


def _fail(error: BaseException, status: int, debug: bool, text: str | None = None) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    line = " ".join((text or str(error)).split())
    name = processes.name() if (processes := _processes()) else ""
    print(f"spliceai-jax: {name}{line}", file=sys.stderr, flush=True)
    return status


def program() -> int:
    """The `spliceai-jax` command."""
    if "_ARGCOMPLETE" in os.environ:  # the shell asks how the words so far may go on
        import argcomplete

        argcomplete.autocomplete(_parser())
    startup.restart_in_huge_pages()
    return main()


if __name__ == "__main__":
    sys.exit(program())
