"""Reliability diagrams."""

import numpy as np
import pytest

from mae_keras.figures import calibration_figure

# Drawing takes longer than the fast part has time for.
pytestmark = pytest.mark.slow


def dots(figure):
    line = figure.axes[0].lines[1]
    return list(zip(line.get_xdata().tolist(), line.get_ydata().tolist(), strict=True))


def test_the_title_states_the_expected_calibration_error(texts):
    # a quarter of the samples is off by 0.2, the rest by 0.04: 0.05 + 0.03
    figure = calibration_figure([0.5, 0.9], [0.3, 0.94], [25, 75])
    assert figure.texts[0].get_text() == "ECE 8.0%"
    titled = calibration_figure([0.5, 0.9], [0.3, 0.94], [25, 75], title="Fine-tuned")
    assert titled.texts[0].get_text() == "Fine-tuned: ECE 8.0%"
    assert "100 samples" in texts(titled)


def test_empty_bins_are_left_out_and_the_rest_ascend():
    figure = calibration_figure([0.9, np.nan, 0.6], [0.8, np.nan, 0.5], [10, 0, 30])
    assert dots(figure) == [(0.6, 0.5), (0.9, 0.8)]


def test_the_strip_shows_the_share_of_the_samples():
    strip = calibration_figure([0.5, 0.9], [0.3, 0.94], [25, 75]).axes[1]
    assert [bar.get_height() for bar in strip.patches] == [0.25, 0.75]


@pytest.mark.parametrize("counts", [[25, 75], [379, 621], [1] * 15, [10]])
def test_the_ticks_of_the_strip_are_round_and_regular(counts):
    places = np.linspace(0.1, 0.9, len(counts))
    strip = calibration_figure(places, places, counts).axes[1]
    low, high = strip.get_ylim()
    ticks = [tick for tick in strip.get_yticks() if low <= tick <= high]
    assert 2 <= len(ticks) <= 5
    steps = np.diff([0, *ticks])
    np.testing.assert_allclose(steps, steps[0])
    mantissa = steps[0] / 10 ** np.floor(np.log10(steps[0]))
    assert min(abs(mantissa - round_one) for round_one in (1, 2, 2.5, 5, 10)) < 1e-6


def test_intervals_are_those_of_wilson():
    axes = calibration_figure([0.9], [0.9], [10]).axes[0]
    # 9 of 10: statsmodels.stats.proportion.proportion_confint(9, 10, method="wilson")
    (interval,) = axes.collections[1].get_segments()
    np.testing.assert_allclose(interval[:, 1], [0.59584, 0.98212], atol=1e-4)


@pytest.mark.parametrize("bins", [1, 2, 15, 40])
@pytest.mark.parametrize("title", [None, "A model whose name takes more than a line of the figure"])
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, bins, title):
    places = np.linspace(0.02, 1, bins)
    check_layout(calibration_figure(places, places**2, np.arange(bins) + 1, title=title))


@pytest.mark.parametrize(
    ("confidence", "accuracy", "count", "message"),
    [
        ([0.5], [0.5, 0.6], [1], "must have one value per bin.*\\(1,\\), \\(2,\\)"),
        ([[0.5]], [[0.5]], [[1]], "must have one value per bin"),
        ([], [], [], "`count` must be numbers of samples, not all of them 0"),
        ([0.5], [0.5], [0], "`count` must be numbers of samples, not all of them 0"),
        ([0.5], [0.5], [0.5], "`count` must be numbers of samples"),
        ([0.5], [0.5], [-1], "`count` must be numbers of samples"),
        ([1.5], [0.5], [1], r"`confidence` must be in \[0, 1\]"),
        ([0.5], [np.nan], [1], r"`accuracy` must be in \[0, 1\] in bins that hold samples"),
    ],
)
def test_arguments_that_do_not_fit_are_named(confidence, accuracy, count, message):
    with pytest.raises(ValueError, match=message):
        calibration_figure(confidence, accuracy, count)
