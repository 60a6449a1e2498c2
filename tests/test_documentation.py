"""What README and docs show is run: every code block, with the documented file names standing for small files.

Python blocks are executed as they are. Commands of `spliceai-jax` are parsed, and those of the pages of `RUN`, or with
`make test-all` of all pages, are run; those of several processes, which this one cannot be, are only parsed. Of the
other programs' commands it is checked that what they name is there.
"""

import gzip
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import nbformat
import pytest
from conftest import ROOT, full, random_model
from markdown_it import MarkdownIt
from nbclient import NotebookClient
from PIL import Image

import spliceai_jax
from spliceai_jax import RECIPES
from spliceai_jax.commands.main import main, make_parser

PAGES = sorted(page for folder in (".", "docs", "demo", "benchmarks") for page in (ROOT / folder).glob("*.md"))
RUN = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", ROOT / "docs" / "python.md"]
FILES = ["-m", "model_400nt_rs10.pt", "-train", "dataset_train.h5", "-test", "dataset_test.h5", "-o", "o", "-p", "p"]
"""What `...` stands for."""
OTHER_PROGRAMS = {"python", "python3", "source", "gcsfuse", "eval", "git", "minimap2", "miniprot"}


def fences(page: Path) -> list[tuple[str, str]]:
    """(language, content) of a page's code blocks."""
    tokens = MarkdownIt().parse(page.read_text())
    assert not [token.map for token in tokens if token.type == "code_block"], "indented code: is it run?"
    return [(token.info, token.content) for token in inside(tokens) if token.type == "fence"]


def inside(tokens: list) -> Iterator:
    for token in tokens:
        yield token
        yield from inside(token.children or [])


def commands(block: str) -> list[list[str]]:
    """The words of each command, `&&` taken apart."""
    lines = block.replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r" && ", line)]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def check(words: list[str], run: Callable[[list[str]], object]) -> None:
    """Run a command of ours, or parse it; of another, see that what it names is there."""
    while "=" in words[0]:
        words = words[1:]
    program = Path(words[0]).name
    if program == "spliceai-jax":
        run(words[1:])
    elif program == "srun":
        parse(words[words.index("spliceai-jax") + 1 :])
    elif program == "gcloud":
        (remote,) = (word.removeprefix("--command=") for word in words if word.startswith("--command="))
        parse(shlex.split(remote)[1:])
    elif program == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert words[1] == "install"
        if "--index-url" in words:
            assert words[2].partition("==")[0] in {re.split(r"\W", needed)[0] for needed in project["dependencies"]}
        else:
            asked = words[-1].removeprefix(".").strip("[]")
            assert asked == "" or asked in project["optional-dependencies"]
    else:
        assert program in OTHER_PROGRAMS, f"{program}: not known to this test"
        if program == "python":
            assert (ROOT / words[1]).is_file()


def parse(arguments: list[str]) -> dict:
    if arguments == ["--version"]:
        return {}  # has a test of its own
    at = arguments.index("...") if "..." in arguments else None
    given = arguments if at is None else [*arguments[:at], *FILES, *arguments[at + 1 :]]
    return vars(make_parser().parse_args(given))


def run(arguments: list[str]) -> None:
    """Run `spliceai-jax`, training for one epoch of a few batches."""
    if (
        arguments == ["--version"]
        or "--coordinator" in arguments
        or "..." in arguments
        or any(word.startswith(("~", "/")) for word in arguments)
    ):
        parse(arguments)
        return
    more = ["--epochs", "1", "--batch-size", "4"] if arguments[0] == "transfer" else []
    assert main([*arguments, *more]) == 0, arguments


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where the documented file names are small files: parts of the demo's data, and its model."""
    monkeypatch.chdir(tmp_path)
    for name in list(RECIPES):
        monkeypatch.setitem(RECIPES, name, replace(RECIPES[name], epochs=1, batch_size=4))
    (tmp_path / "demo" / "fly").mkdir(parents=True)
    for name in ("dataset_train.h5", "dataset_test.h5"):
        with h5py.File(ROOT / "demo" / "fly" / name) as whole, h5py.File(name, "w") as part:
            part["X0"], part["Y0"] = whole["X0"][:8], whole["Y0"][:, :8]
        (tmp_path / "demo" / "fly" / name).symlink_to(tmp_path / name)
    train = ROOT / "demo" / "fly" / "dataset_train.h5"
    parts = {
        "dataset_validation.h5": slice(8, 16),
        "old_species_test.h5": slice(16, 24),
        "human_train.h5": slice(24, 32),
        "draft_genes.h5": slice(24, 32),
        "moth_train.h5": slice(32, 40),
        "moth_validation.h5": slice(40, 48),
        "moth_test.h5": slice(48, 56),
    }
    for name, rows in parts.items():
        with h5py.File(train) as whole, h5py.File(name, "w") as part:
            part["X0"], part["Y0"] = whole["X0"][rows], whole["Y0"][:, rows]
    for name in ("model_400nt_rs10.pt", "model_best.pt", "demo/worm_400nt.pt"):
        (tmp_path / name).symlink_to(ROOT / "demo" / "worm_400nt.pt")
    for seed, name in enumerate(("zebrafish_400nt_rs10.pt", "mouse_400nt_rs10.pt")):
        random_model(400, seed).to_pt(name)
    _write_genome()
    (tmp_path / "demo" / "fly_genome").mkdir()
    for name in ("genome.fa.gz", "annotation.gff3.gz"):
        (tmp_path / "demo" / "fly_genome" / name).symlink_to(tmp_path / name)
    return tmp_path


def _write_genome() -> None:
    """Write the beginnings of two of the fly's chromosome arms, and the genes there."""
    folder, names, length = ROOT / "demo" / "fly_genome", ("2L", "3L"), 90_000
    records = gzip.decompress((folder / "genome.fa.gz").read_bytes()).decode().split(">")[1:]
    sequences = {record.split()[0]: "".join(record.splitlines()[1:]) for record in records}
    cut = "".join(f">{name} of the fly\n{sequences[name][:length]}\n" for name in names)
    Path("genome.fa.gz").write_bytes(gzip.compress(cut.encode()))
    lines = gzip.decompress((folder / "annotation.gff3.gz").read_bytes()).decode().splitlines(keepends=True)
    columns = [line.split("\t") for line in lines if line.count("\t") == 8]
    kept = ["\t".join(line) for line in columns if line[0] in names and int(line[4]) <= length]
    Path("annotation.gff3.gz").write_bytes(gzip.compress("".join(kept).encode()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_parsed(page: Path) -> None:
    for language, block in fences(page):
        if language == "bash":
            for words in commands(block):
                check(words, parse)
        elif language == "python":
            compile(block, page.name, "exec")
        else:
            assert language in ("text", "{toctree}", "{eval-rst}"), f"{language}: not run"


@pytest.mark.slow
@pytest.mark.parametrize("page", full(PAGES, *RUN), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_code_block_runs(page: Path, workplace: Path) -> None:
    names: dict = {}
    for language, block in fences(page):
        if language == "python":
            exec(compile(block, page.name, "exec"), names)
        elif language == "bash":
            for words in commands(block):
                check(words, run)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = [
        token.attrs.get("href") or token.attrs.get("src")
        for token in inside(MarkdownIt().enable("table").parse(page.read_text()))
        if token.type in ("link_open", "image")
    ]
    targets = [link.partition("#")[0] for link in links if not link.startswith(("http", "#"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_picture_of_the_report_shows_what_the_text_says() -> None:
    """`make docs-figures` takes the picture from a run of the demo, with its figures as text."""
    with Image.open(ROOT / "docs" / "report.png") as picture:
        shown = {name: float(value) for name, value in picture.text.items()}
    readme = " ".join((ROOT / "README.md").read_text().split())
    told = re.search(r"before and after: donors (\S+) and (\S+), acceptors (\S+) and (\S+)\. ", readme)
    assert told, "README does not give the demo's figures"
    names = ("donor before", "donor after", "acceptor before", "acceptor after")
    assert [float(value) for value in told.groups()] == [pytest.approx(shown[name], abs=0.0051) for name in names]
    tutorial = (ROOT / "docs" / "tutorial.md").read_text()
    for kind in ("donor", "acceptor"):
        told = re.search(rf"{kind}s: AUPRC from ([\d.]+) to ([\d.]+),", tutorial)
        wanted = [pytest.approx(shown[f"{kind} {when}"], abs=0.0051) for when in ("before", "after")]
        assert told
        assert [float(value) for value in told.groups()] == wanted


@pytest.mark.full
def test_the_notebook_runs(tmp_path: Path) -> None:
    path = ROOT / "examples" / "fine_tune.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "stored with outputs; clear them"
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": path.parent}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    before, after = map(float, re.findall(r"donor AUPRC ([\d.]+) before, ([\d.]+) after", printed)[0])
    assert after > before
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


@pytest.mark.parametrize("command", sorted(make_parser().get_default("parsers")))
def test_the_example_in_a_commands_help_is_valid(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    (example,) = re.findall(r"^example: (.*(?:\n.*\S)*)", capsys.readouterr().out, re.M)
    words = shlex.split(example)
    assert words[:2] == ["spliceai-jax", command]
    parse(words[1:])


@pytest.mark.slow
def test_version_says_what_a_bug_report_needs(installed) -> None:
    done = installed("--version")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    wanted = {"python", "spliceai-jax", "jax", "jaxlib", "numpy", "flax", "optax", "orbax-checkpoint", "torch"}
    assert wanted | {"devices"} <= set(lines)
    assert lines["devices"] == "1 x cpu (cpu)"
    assert lines["spliceai-jax"] == spliceai_jax.__version__
