"""Loss curves with baselines, mask ratio and learning rate."""

import numpy as np
import pytest

from mae_keras.figures import loss_figure
from mae_keras.figures.curves import epoch_ticks
from mae_keras.figures.style import spread

BASELINES = {"mean_image": 0.8, "visible_mean": 0.81, "nearest_visible": 1.2}


def test_curves_start_at_epoch_one():
    (axes,) = loss_figure({"loss": [3.0, 2.0, 1.0], "val_loss": [3.5, 2.5, 1.5]}).axes
    training, validation = axes.lines
    assert training.get_xdata().tolist() == [1, 2, 3]
    assert training.get_ydata().tolist() == [3.0, 2.0, 1.0]
    assert validation.get_ydata().tolist() == [3.5, 2.5, 1.5]
    assert axes.get_xticks().tolist() == [1, 2, 3]


def test_baselines_are_dashed_lines_with_names_and_values(texts):
    figure = loss_figure({"loss": [1.0, 0.9]}, baselines=BASELINES)
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() != "-"]
    assert sorted(line.get_ydata()[0] for line in dashed) == [0.8, 0.81, 1.2]
    for words in ("mean image  0.800", "visible mean  0.810", "nearest visible  1.20"):
        assert words in texts(figure)


@pytest.mark.parametrize(
    ("losses", "baselines", "scale"),
    [
        ([1.0, 0.2], {}, "linear"),
        ([1.0, 0.05], {}, "log"),
        ([1.0, 0.2], {"mean_image": 5.0}, "log"),
        ([1.0, -0.5], {}, "linear"),
        ([1.0, 0.0], {}, "linear"),
    ],
)
def test_the_scale_is_logarithmic_beyond_a_decade_of_positive_values(losses, baselines, scale):
    assert loss_figure({"loss": losses}, baselines=baselines).axes[0].get_yscale() == scale


@pytest.mark.parametrize("lowest", [0.09, 1e-3, 1e-6, 1e-12])
def test_a_logarithmic_axis_has_a_readable_number_of_ticks(lowest):
    axes = loss_figure({"loss": [1.0, lowest]}).axes[0]
    low, high = axes.get_ylim()
    assert 2 <= sum(low <= tick <= high for tick in axes.get_yticks()) <= 12


def test_mask_ratio_and_learning_rate_have_strips_if_they_change(texts):
    history = {"loss": [3.0, 2.0], "mask_ratio": [0.5, 0.75], "learning_rate": [1e-3, 1e-3]}
    figure = loss_figure(history)
    assert len(figure.axes) == 2
    assert figure.axes[1].lines[0].get_ydata().tolist() == [0.5, 0.75]
    assert "mask ratio" in texts(figure)
    assert "learning rate" not in texts(figure)


def test_epochs_without_a_value_leave_a_gap(texts):
    figure = loss_figure({"loss": [3.0, np.inf, 1.0], "val_loss": [2.0, None, None]})
    training, validation = figure.axes[0].lines
    assert np.isnan(training.get_ydata()[1])
    assert np.isfinite(validation.get_ydata()).tolist() == [True, False, False]
    assert "validation  2.00" in texts(figure)


def test_other_columns_are_ignored():
    assert len(loss_figure({"epoch": [1.0], "loss": [1.0], "mae": [5.0]}).axes[0].lines) == 1


@pytest.mark.parametrize(
    "history",
    [
        {"loss": [1.0]},
        {"loss": [float("nan")] * 3},
        {"loss": [0.5, 0.5, 0.5], "val_loss": [0.5, 0.5, 0.5]},
        {"loss": [900.0, 5000.0], "val_loss": [1e-5, 1e7]},
        {"loss": list(np.geomspace(3, 1e-4, 400)), "mask_ratio": list(np.linspace(0.1, 0.9, 400))},
        {"loss": [2.0, 1.0], "learning_rate": [1.2345e-7, 1.2345e-4]},
    ],
    ids=["one epoch", "nan", "equal", "large", "long", "tiny rate"],
)
@pytest.mark.parametrize("baselines", [None, BASELINES], ids=["alone", "baselines"])
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, history, baselines):
    check_layout(loss_figure(history, baselines=baselines))


def test_without_a_loss_the_history_is_refused():
    with pytest.raises(ValueError, match="`history` must have a `loss`.*Received: {'val_loss': 1}"):
        loss_figure({"val_loss": [1.0]})
    with pytest.raises(ValueError, match="at least one epoch.*Received: {'loss': 0}"):
        loss_figure({"loss": []})


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"`history\['val_loss'\]` .* 3 epochs.*Received: 1 value"):
        loss_figure({"loss": [3.0, 2.0, 1.0], "val_loss": [2.0]})


@pytest.mark.parametrize("epochs", [1, 2, 10, 11, 20, 37, 99, 1600])
def test_epoch_ticks_are_few_and_start_at_one(epochs):
    ticks = epoch_ticks(epochs)
    assert ticks[0] == 1
    assert ticks[-1] <= epochs
    assert len(ticks) <= 11
    assert (np.diff(ticks) > 0).all()


@pytest.mark.parametrize("heights", [[], [1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 9.0, 9.5, 40.0]])
def test_spread_heights_keep_their_order_and_distance(heights):
    moved = spread(heights, 3.0)
    assert len(moved) == len(heights)
    assert (np.diff(moved) >= 3.0 - 1e-9).all()
    assert sum(moved) == pytest.approx(sum(heights))
