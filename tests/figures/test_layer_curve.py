"""Probe accuracy from block to block."""

import numpy as np
import pytest

from mae_keras.figures import layer_curve_figure

# Drawing takes longer than the fast part has time for.
pytestmark = pytest.mark.slow

CURVES = {"trained": [0.5, 0.7, 0.8, 0.78], "untrained": [0.5, 0.45, 0.4, 0.35]}
LEVELS = {"pixels": 0.52, "PCA": 0.53}


def test_blocks_count_from_zero():
    axes = layer_curve_figure(CURVES).axes[0]
    trained, untrained = axes.lines
    assert trained.get_xdata().tolist() == [0, 1, 2, 3]
    assert trained.get_ydata().tolist() == CURVES["trained"]
    assert untrained.get_ydata().tolist() == CURVES["untrained"]


def test_baselines_are_dashed_lines_with_names_and_values(texts):
    figure = layer_curve_figure(CURVES, baselines=LEVELS)
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() != "-"]
    assert sorted(line.get_ydata()[0] for line in dashed) == [0.52, 0.53]
    for words in ("pixels  52.0%", "PCA  53.0%", "trained  78.0%", "untrained  35.0%"):
        assert words in texts(figure)


def rings(figure):
    lines = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines]


@pytest.mark.parametrize(
    ("chosen", "expected", "note"),
    [
        (None, [], ""),
        (2, [(2, 0.8)], "(trained: block 2, 80.0%)"),
        (np.int64(0), [(0, 0.5)], "(trained: block 0, 50.0%)"),
        ({"untrained": 1, "trained": 3}, [(1, 0.45), (3, 0.78)], "untrained: block 1, 45.0%; "),
    ],
)
def test_chosen_blocks_are_ringed_and_named(texts, chosen, expected, note):
    figure = layer_curve_figure(CURVES, chosen=chosen)
    assert rings(figure) == expected
    assert note in texts(figure)
    assert ("Ringed" in texts(figure)) == (chosen is not None)


def test_blocks_without_a_value_leave_a_gap(texts):
    curves = {"trained": [0.5, None, 0.8, np.nan], "failed": [np.nan, None]}
    figure = layer_curve_figure(curves, chosen=3)
    assert np.isfinite(figure.axes[0].lines[0].get_ydata()).tolist() == [True, False, True, False]
    assert "trained  80.0%" in texts(figure)
    assert "Without a value: failed." in texts(figure)
    assert "(trained: block 3)" in texts(figure)


@pytest.mark.parametrize("blocks", [1, 4, 12, 24, 48])
@pytest.mark.parametrize("baselines", [None, LEVELS], ids=["alone", "baselines"])
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, blocks, baselines):
    curves = {
        "trained": np.linspace(0.5, 0.99, blocks + 1),
        "the same encoder, untrained": np.linspace(0.5, 0.53, blocks + 1),
        "shallow": [1.0],
        "failed": [None],
    }
    chosen = {name: 0 for name in curves}
    check_layout(layer_curve_figure(curves, chosen=chosen, baselines=baselines, title="By block"))


@pytest.mark.parametrize(
    ("curves", "options", "message"),
    [
        ({}, {}, "`accuracies` must hold at least one curve"),
        ({"a": []}, {}, r"each at least one value. Received: {'a': 0}"),
        ({"a": [97.0]}, {}, r"`accuracies\['a'\]` must be accuracies in \[0, 1\]"),
        (CURVES, {"baselines": {"pixels": 2}}, r"`baselines\['pixels'\]` must be accuracies"),
        (CURVES, {"chosen": 4}, "`chosen` must be a block.*'trained': 3.*Received: chosen=4"),
        (CURVES, {"chosen": -1}, "`chosen` must be a block"),
        (CURVES, {"chosen": 1.5}, "`chosen` must be a block"),
        (CURVES, {"chosen": {"other": 1}}, "`chosen` must be a block of a curve.*'other'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(curves, options, message):
    with pytest.raises(ValueError, match=message):
        layer_curve_figure(curves, **options)
