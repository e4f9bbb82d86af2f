"""Accuracy under corruption."""

import numpy as np
import pytest

from mae_keras.figures import robustness_figure

# Drawing takes longer than the fast part has time for.
pytestmark = pytest.mark.slow


def make(models=2, kinds=3):
    return {
        f"model {m}": {f"kind {k}": {0.2: 0.6, 0: 0.9, 0.1: 0.8} for k in range(kinds)}
        for m in range(models)
    }


def test_each_kind_is_a_panel_and_each_model_a_line(texts):
    figure = robustness_figure(make())
    assert [axes.get_title() for axes in figure.axes] == ["kind 0", "kind 1", "kind 2"]
    for axes in figure.axes:
        assert [line.get_ydata().tolist() for line in axes.lines] == [[0.9, 0.8, 0.6]] * 2
        assert axes.lines[0].get_xdata().tolist() == [0, 0.1, 0.2]
    assert "model 0" in texts(figure) and "model 1" in texts(figure)
    assert "strength (0: clean)" in texts(figure)


def test_all_panels_share_the_vertical_axis():
    results = make()
    results["model 0"]["kind 2"][0.2] = 0.1
    limits = {axes.get_ylim() for axes in robustness_figure(results).axes}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low <= 0.1 and high >= 0.9


@pytest.mark.parametrize(("kinds", "columns"), [(1, 1), (4, 4), (5, 3), (6, 3), (8, 4), (9, 3)])
def test_panels_fill_rows_evenly(kinds, columns):
    figure = robustness_figure(make(kinds=kinds))
    tops = [round(axes.get_position().y1, 6) for axes in figure.axes]
    assert tops.count(tops[0]) == columns


def test_a_model_may_lack_a_kind_or_a_value():
    results = make(models=2, kinds=2)
    del results["model 0"]["kind 1"]
    results["model 1"]["kind 1"][0.1] = None
    first, second = robustness_figure(results).axes
    assert len(first.lines) == 2
    (line,) = second.lines
    assert line.get_color() == first.lines[1].get_color()
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]


def test_chance_is_a_dashed_line_and_explained(texts):
    figure = robustness_figure(make(), chance=0.1)
    dashed = figure.axes[0].lines[-1]
    assert dashed.get_linestyle() == "--" and set(dashed.get_ydata()) == {0.1}
    assert "guessing" in texts(figure)
    assert figure.axes[0].get_ylim()[0] <= 0.1


@pytest.mark.parametrize("kinds", [1, 4, 7])
@pytest.mark.parametrize("models", [1, 5])
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, kinds, models):
    strengths = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.51)
    results = {
        f"a model with a long name {m}": {
            f"a kind of corruption with a long name {k}": {s: 1 - s for s in strengths}
            for k in range(kinds)
        }
        for m in range(models)
    }
    check_layout(robustness_figure(results, chance=0.1, title="Accuracy"))


def test_clean_images_alone_are_drawn(check_layout):
    check_layout(robustness_figure({"a": {"noise": {0: 0.9}}}))


@pytest.mark.parametrize(
    ("results", "options", "message"),
    [
        ({}, {}, "`results` must hold at least one model and kind"),
        ({"a": {}}, {}, "`results` must hold at least one model and kind"),
        ({"a": {"noise": {}}}, {}, r"`results\['a'\]\['noise'\]` must have strengths"),
        ({"a": {"noise": {-1: 0.5}}}, {}, "strengths of 0 or more"),
        ({"a": {"noise": {0: 50}}}, {}, r"must be accuracies in \[0, 1\]"),
        (make(), {"chance": 10}, "`chance` must be a number in"),
    ],
)
def test_arguments_that_do_not_fit_are_named(results, options, message):
    with pytest.raises(ValueError, match=message):
        robustness_figure(results, **options)
