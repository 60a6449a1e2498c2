"""What a finished run names is there, whole: compared with what it recorded, and made again where that is possible."""

import hashlib
import warnings
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from spliceai_jax.convert import pt_bytes
from spliceai_jax.errors import RunFolderError, SpliceAIWarning
from spliceai_jax.network.model import Variables
from spliceai_jax.runs import stored
from spliceai_jax.runs.card import ModelCard, model_card
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import History, LoopState
from spliceai_jax.runs.identity import RunIdentity
from spliceai_jax.runs.logs import render_logs
from spliceai_jax.runs.record import Session, read_record


@dataclass(frozen=True)
class _Model:
    """A model that a finished run names.

    Attributes:
        copies: The files that should hold it.
        sha256: Their SHA-256.
        content: Their bytes; None where only a whole copy holds them.
    """

    copies: list[Path]
    sha256: str
    content: bytes | None


def check_kept(folder: RunFolder, identity: RunIdentity, loop: LoopState, last: Variables, untouched: bytes) -> None:
    """Compare a finished run's models, the best one's card, logs and history with its checkpoint.

    What is missing or damaged is made again, and a warning says so; the damaged file is kept under another name. The
    models that can be made again are the best one, the copy of it that its epoch left, and the last epoch's; a best
    model that is the untouched one is made from the weights that the run was given.

    Arguments:
        folder: The run's folder.
        identity: What decides the run's result.
        loop: Where the run stands: at its end.
        last: The network's variables after the last epoch.
        untouched: The `.pt` file of the weights that the run was given.

    Raises:
        RunFolderError: The best model is lost.
    """
    made_again: list[Path] = []
    lost: list[Path] = []
    for model in _named_models(folder, identity, loop.history, pt_bytes(identity.flanking_size, last), untouched):
        whole = [path for path in model.copies if _is_whole(path, model.sha256)]
        content = whole[0].read_bytes() if whole else model.content
        if content is None:
            lost += model.copies
            continue
        for path in model.copies:
            if path not in whole:
                _put_back(folder, path, content)
                made_again.append(path)
    best = loop.history.tuned_epoch(identity.choices)
    if folder.best_model in lost:
        raise RunFolderError(
            f"{folder.best_model}: missing or damaged, like {folder.epoch_model(best).name}, and no checkpoint holds "
            f"epoch {best}; bring back a copy of one of the two, or train anew with another `exp_num`"
        )
    if (tuned := folder.epoch_model(best)) in lost and tuned.exists():
        folder.set_aside(tuned)  # or it would be compared and shown as the tuned model
    made_again += _put_back_texts(folder, identity, loop)
    for paths, words in (
        (made_again, "missing or damaged; made again"),
        (lost, "missing or damaged, and lost; the best is whole"),
    ):
        if paths:
            names = ", ".join(str(path.relative_to(folder.root)) for path in paths)
            warnings.warn(f"{folder.root}: {names}: {words}", SpliceAIWarning, stacklevel=2)


def _named_models(
    folder: RunFolder, identity: RunIdentity, history: History, last: bytes, untouched: bytes
) -> list[_Model]:
    """Return the models of a finished run."""
    best = history.kept_epoch(identity.choices)
    found = [_Model([folder.best_model], identity.pretrained_model, untouched)] if best is None else []
    for number, epoch in enumerate(history.epochs):
        copies = [folder.epoch_model(number)] + ([folder.best_model] if number == best else [])
        content = last if number == len(history.epochs) - 1 else None
        found.append(_Model(copies, epoch.model_sha256, content))
    return found


def check_best(folder: RunFolder, identity: RunIdentity, loop: LoopState) -> None:
    """Refuse to name a best model that is gone, some time after all was there.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    best = loop.history.kept_epoch(identity.choices)
    wanted = identity.pretrained_model if best is None else loop.history.epochs[best].model_sha256
    if not _is_whole(folder.best_model, wanted):
        raise RunFolderError(
            f"{folder.best_model}: was removed or changed after the run had finished; give the same command with "
            "`resume=True` to make it again"
        )


def _is_whole(model: Path, sha256: str) -> bool:
    try:
        with open(model, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _put_back_texts(folder: RunFolder, identity: RunIdentity, loop: LoopState) -> list[Path]:
    """Write the texts that are not what follows from the history, and return their paths."""
    expected = {folder.log(name): text for name, text in render_logs(loop.history).items()}
    expected[folder.history] = stored.render(loop.to_json(), indent=None)
    if (card := _card(folder, identity, loop)) is not None:
        expected[folder.best_card] = card
    put_back = []
    for path, text in expected.items():
        try:
            if path.read_bytes() == text.encode():
                continue
        except OSError:
            pass
        _put_back(folder, path, text)
        put_back.append(path)
    return put_back


def _card(folder: RunFolder, identity: RunIdentity, loop: LoopState) -> str | None:
    """Return what the best model's card should be; None where it is that, or the record, its source, is lost."""
    try:
        record = read_record(folder.record)
    except RunFolderError:
        return None
    if not record:
        return None
    card = model_card(folder.best_model.read_bytes(), identity, record, loop.history)
    try:  # an earlier session may have written it
        found = stored.parse(folder.best_card, ModelCard)
    except (OSError, ValueError):
        return stored.render(asdict(card))
    known = {field.name: getattr(found, field.name) for field in fields(Session)}
    card = replace(card, comparison=found.comparison, **known)
    text = stored.render(asdict(card))
    return None if stored.render(asdict(found)) == text else text


def _put_back(folder: RunFolder, path: Path, content: bytes | str) -> None:
    if path.exists():
        folder.set_aside(path)
    folder.write(path, content)
