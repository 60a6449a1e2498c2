"""Windows side by side give what whole windows give: scores, activations, losses, gradients and statistics."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import full, make_windows, random_model
from hypothesis import given
from hypothesis import strategies as st

from spliceai_jax import ARCHITECTURES, RECIPES, SpliceAI
from spliceai_jax.architecture import PADDING, WINDOW, Architecture
from spliceai_jax.evaluation.evaluate import evaluate_windows
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.training.step import TrainState, init_state, make_train_step
from spliceai_jax.training.trainable import Trainable
from spliceai_jax.windows import packing
from spliceai_jax.windows.packing import BLANK, Packing, whole_windows
from spliceai_jax.windows.training_packer import StatisticsPacker
from spliceai_jax.windows.windows import Windows


def of_all_kinds(flanking_size: int) -> Windows:
    """Twelve windows: short, long and full ones, N up to a gene's end, bases behind it, and nothing at all."""
    bases, labels = make_windows(12, seed=3)
    bases = bases[:, (10000 - flanking_size) // 2 : (20000 + flanking_size) // 2].copy()
    half = flanking_size // 2
    for row, length in ((0, 300), (2, 2200), (4, 1), (6, 700)):
        labels[row, length:] = PADDING
        bases[row, half + length :] = 0
    bases[6, 100:] = 0  # N to the gene's end
    bases[1] = bases[0, ::-1]  # bases behind the end
    labels[8], bases[8] = PADDING, 0
    labels[9, 700:720] = PADDING  # and in the middle
    return Windows(Path("made.h5"), bases, labels, np.zeros(12, int), np.arange(12))


def check(layout: Packing, sizes: dict[int, int], gap: int) -> None:
    """Each window once, as large as it must be, in a row, none nearer another than the gap."""
    found = {window: size for window, _, _, size in layout.pieces if window != BLANK}
    assert found == sizes
    free = np.ones((layout.rows, layout.columns + gap), bool)
    for _, row, start, size in layout.pieces:
        assert start + size <= layout.columns
        assert free[row, start : start + size + gap].all()
        free[row, start : start + size + gap] = False


def test_the_reach_of_all_entries_is_the_context() -> None:
    for flanking_size, architecture in ARCHITECTURES.items():
        assert architecture.reach() == flanking_size // 2
        assert architecture.reach(max(architecture.skips)) == architecture.gap(max(architecture.skips)) == 0
    assert (ARCHITECTURES[400].reach(7), ARCHITECTURES[400].gap(7)) == (80, 20)  # the last two units
    assert (ARCHITECTURES[10000].reach(15), ARCHITECTURES[10000].gap()) == (4000, 500)


windows_lengths = st.lists(st.integers(0, WINDOW), min_size=1, max_size=60)


@given(windows_lengths, st.integers(1, 9), st.sampled_from(list(ARCHITECTURES)))
def test_every_window_is_scored_once(lengths, rows, flanking_size) -> None:
    alone = np.zeros(len(lengths), bool)
    layouts = list(packing.for_scoring(np.array(lengths), alone, flanking_size, rows))
    assert {layout.rows for layout in layouts} == {-(-rows // 3) if flanking_size == 10000 else rows}
    assert sorted(np.concatenate([layout.windows for layout in layouts])) == list(range(len(lengths)))
    for layout in layouts:
        check(layout, {window: lengths[window] + flanking_size for window in layout.windows.tolist()}, gap=0)


@given(windows_lengths, st.sampled_from(list(ARCHITECTURES.values())), st.integers(0, 20), st.integers(0, 2**32))
def test_a_training_batch_counts_every_position_once(lengths, architecture: Architecture, begin, seed) -> None:
    """An empty window stands for all positions that lie behind the pieces, each as often as it is left out.

    Its middle position stands for all those of a window that see neither of its ends.
    """
    extents = np.array(lengths) + architecture.flanking_size // 2
    windows = np.random.default_rng(seed).permutation(len(lengths))[: len(lengths) // 2 + 1]
    layout = StatisticsPacker(len(windows) + 3, architecture, extents, begin)(windows)
    assert layout.rows <= len(windows) + 3
    sizes = packing.piece_sizes(extents, architecture, begin)
    if layout.inside is None:
        check(layout, dict.fromkeys(windows.tolist(), layout.columns), gap=0)
        assert layout.multiplicity.sum() == len(windows)
        return
    check(layout, {window: sizes[window] for window in windows.tolist()}, architecture.gap(begin))
    assert layout.rows < len(windows) + 3
    counts, end = np.zeros(layout.columns), architecture.reach()
    assert (layout.windows == BLANK).sum() == 1
    for window, row, start, size in layout.pieces:
        assert layout.inside[row, start : start + size].all()
        multiplicity = layout.multiplicity[row, start : start + size]
        if window != BLANK:
            counts[:size] += multiplicity
            continue
        assert size == 2 * end + 1
        counts[:end] += multiplicity[:end]
        counts[-end:] += multiplicity[-end:]
        of_middle = multiplicity[end]
    for window, row, start, size in layout.pieces:
        if window != BLANK and size < layout.columns:  # what these see of the piece is an empty window's
            seen = size - architecture.reach(begin)
            assert not layout.multiplicity[row, start + seen : start + size].any()
            assert seen == extents[window] + architecture.flanking_size // 2
    np.testing.assert_array_equal(counts[:end], len(windows))
    np.testing.assert_array_equal(counts[-end:], len(windows))
    assert (len(windows) - counts[end:-end]).sum() == of_middle
    assert layout.inside.sum() == layout.size.sum()
    assert not layout.multiplicity[~layout.inside].any()


def test_batches_of_a_set_have_few_numbers_of_rows() -> None:
    random, architecture = np.random.default_rng(0), ARCHITECTURES[400]
    extents = random.integers(200, 5400, 2000)
    for size in (12, 36):
        rows, packer = set(), StatisticsPacker(size, architecture, extents, 0)
        for _ in range(200):
            windows = random.permutation(2000)[: size if random.random() < 0.9 else size // 3]
            rows.add(packer(windows).rows)
        assert len(rows) <= 3
        assert min(rows) < size == max([*rows, size])


def step_through(windows: Windows, layout: Packing, architecture: Architecture, recipe: Recipe, start: TrainState):
    batch = windows.batch(layout)
    step = jax.jit(make_train_step(SpliceAI(architecture), recipe))
    return step(start, replace(batch, multiplicity=batch.multiplicity.astype(np.float64)), 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flanking_size", "recipe"),
    full([*((80, recipe) for recipe in RECIPES), (400, "openspliceai")], (80, "openspliceai"), (80, "best")),
)
def test_a_training_step_is_that_of_whole_windows(flanking_size, recipe) -> None:
    """In float64: the loss, the moments, which are the gradients, and the statistics."""
    architecture = ARCHITECTURES[flanking_size]
    chosen = replace(RECIPES[recipe], dropout=0.0)  # its random numbers are drawn for rows
    windows, model = of_all_kinds(flanking_size), random_model(flanking_size)
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda value: value.astype(np.float64) if value.dtype == np.float32 else value,
                                 model.variables)  # fmt: skip
        start = init_state(variables, Trainable.of(architecture, chosen), chosen)
        positions = np.array([3, 0, 6, 2, 8, 4, 10, 1])
        padding_counts = chosen.trained_batchnorm == "batch"
        packed = windows.packer(9, architecture, padding_counts)(positions)
        assert packed.rows < 8
        assert (packed.inside is not None) == padding_counts
        whole = whole_windows(positions, 9, packed.columns)
        (wanted, loss), (found, packed_loss) = (
            step_through(windows, layout, architecture, chosen, start) for layout in (whole, packed)
        )
    assert float(packed_loss) == pytest.approx(float(loss), rel=1e-12)
    for (path, value), other in zip(
        jax.tree_util.tree_leaves_with_path((wanted.batch_stats, wanted.opt_state)),
        jax.tree.leaves((found.batch_stats, found.opt_state)),
        strict=True,
    ):
        np.testing.assert_allclose(other, value, rtol=1e-9, atol=1e-14, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("flanking_size", [80, 400])
def test_scores_are_those_of_whole_windows(flanking_size) -> None:
    architecture, windows, model = (
        ARCHITECTURES[flanking_size],
        of_all_kinds(flanking_size),
        random_model(flanking_size),
    )
    engine = Engine(architecture, Recipe())
    expected = model.predict(windows.bases)
    rows = 0
    for packed in windows.scoring_batches(2):
        rows += packed.packing.rows
        found = engine.evaluate(engine.place(model.variables), packed.batch)
        probabilities, losses = map(packed.by_window, found)
        labels = packed.labels
        labelled = labels != PADDING
        np.testing.assert_allclose(probabilities[labelled], expected[packed.positions][labelled], atol=2e-6)
        truth = np.take_along_axis(expected[packed.positions], np.minimum(labels, 2)[..., None], -1)[..., 0]
        np.testing.assert_allclose(losses, np.where(labelled, -np.log(truth + 1e-10), 0), atol=2e-5)
    assert rows <= 6  # for twelve windows


def of_long_genes() -> Windows:
    """Eleven windows for 10000 nt: of a gene of nine, of which the last ends early; and of two short genes."""
    random, half = np.random.default_rng(0), 5000
    gene = random.integers(1, 5, 9 * WINDOW + 2 * half, dtype=np.uint8)
    bases = np.stack([gene[WINDOW * i :][: WINDOW + 2 * half] for i in range(9)] + [gene[: WINDOW + 2 * half]] * 2)
    labels = random.integers(0, 3, (11, WINDOW), dtype=np.uint8)
    for row, length in ((8, 1200), (9, 700), (10, 2500)):
        labels[row, length:] = PADDING
    bases[10, 1:] = bases[10, :-1]
    return Windows(Path("made.h5"), bases, labels, np.zeros(11, int), np.arange(11))


@pytest.mark.full
def test_neighbours_in_a_gene_share_bases_and_are_scored_as_whole_windows() -> None:
    windows, model = of_long_genes(), random_model(10000)
    assert windows.continues.tolist() == [False] + 8 * [True] + 2 * [False]
    engine, positions, rows = Engine(ARCHITECTURES[10000], Recipe()), [], 0
    placed, expected = engine.place(model.variables), model.predict(windows.bases)
    for packed in windows.scoring_batches(6):
        rows += packed.packing.rows
        assert packed.batch.labels.shape == (2, 35000)
        probabilities, losses = map(packed.by_window, engine.evaluate(placed, packed.batch))
        labelled = packed.labels != PADDING
        np.testing.assert_allclose(probabilities[labelled], expected[packed.positions][labelled], atol=2e-5)
        assert not losses[~labelled].any()
        positions += packed.positions.tolist()
    assert sorted(positions) == list(range(11))
    assert rows == 2  # of three windows' length each


def test_windows_in_another_order_share_no_bases() -> None:
    assert not of_long_genes().subset(np.array([3, 2, 0, 8, 6])).continues.any()


def test_losses_are_logged_in_the_files_order() -> None:
    windows, model = of_all_kinds(80), random_model(80)
    engine = Engine(ARCHITECTURES[80], Recipe())
    variables = engine.place(model.variables)
    done: list[int] = []
    metrics, losses = evaluate_windows(engine, [variables], windows, 5, done.append)
    assert sum(done) == metrics.windows == 12
    parts = [evaluate_windows(engine, [variables], windows.subset(np.arange(12)[i : i + 5]), 5) for i in (0, 5, 10)]
    np.testing.assert_allclose(losses, [part[0].loss for part in parts], rtol=1e-6)
