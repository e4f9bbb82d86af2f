"""ROC curves and reliability of screening."""

import json

import numpy as np
import pytest

from mae_keras.evaluation import screening_report
from mae_keras.figures import screening_figure

# Drawing takes longer than the fast part has time for.
pytestmark = pytest.mark.slow


def reports(*names):
    made = {}
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        labels = np.arange(80) % 2
        probabilities = np.clip(rng.normal(0.3, 0.2, 80) + 0.3 * labels, 0, 1)
        report = screening_report(labels, probabilities, threshold=0.4, resamples=100)
        made[name] = json.loads(json.dumps(report.as_dict()))
    return made


def test_curves_marks_and_bins_are_those_of_the_reports(texts):
    made = reports("fine-tuned", "from scratch")
    figure = screening_figure(made, title="Pneumonia")
    ranking, reliability = figure.axes
    for number, report in enumerate(made.values()):
        curve, mark = ranking.lines[1 + 2 * number], ranking.lines[2 + 2 * number]
        np.testing.assert_allclose(curve.get_xdata(), report["false_positive_rates"])
        np.testing.assert_allclose(curve.get_ydata(), report["true_positive_rates"])
        place = [mark.get_xdata()[0], mark.get_ydata()[0]]
        np.testing.assert_allclose(place, [1 - report["specificity"], report["sensitivity"]])
        # the operating point lies on its curve
        curve_points = np.stack([curve.get_xdata(), curve.get_ydata()], axis=1)
        assert np.abs(curve_points - place).max(axis=1).min() < 1e-9
        bins = [one for one in report["calibration"]["bins"] if one["count"]]
        dots = reliability.lines[1 + number]
        np.testing.assert_allclose(dots.get_xdata(), [one["confidence"] for one in bins])
        np.testing.assert_allclose(dots.get_ydata(), [one["accuracy"] for one in bins])
        assert f"{report['roc_auc']:.3f} [" in texts(figure)
    assert "Pneumonia" in texts(figure) and "from scratch" in texts(figure)


@pytest.mark.parametrize("number", [1, 6])
@pytest.mark.parametrize("title", [None, "A title that is long enough to be broken " * 3])
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, number, title):
    names = [f"{n} classifier whose name takes more than its place" for n in range(number)]
    check_layout(screening_figure(reports(*names), title=title))


def test_what_is_no_report_is_refused():
    (report,) = reports("a").values()
    with pytest.raises(TypeError, match="`reports` must be a dict"):
        screening_figure([report])
    with pytest.raises(ValueError, match="`reports` must hold at least one classifier"):
        screening_figure({})
    with pytest.raises(ValueError, match="at most 6 classifiers. Received: 7"):
        screening_figure(dict.fromkeys("abcdefg", report))
    with pytest.raises(TypeError, match=r"`reports\['a'\]` must be a dict.*Received: int"):
        screening_figure({"a": 1})
    with pytest.raises(ValueError, match=r"`reports\['a'\]` must be a report.*without 'brier'"):
        screening_figure({"a": {k: v for k, v in report.items() if k != "brier"}})
    with pytest.raises(ValueError, match=r"`reports\['a'\]` must hold rates in \[0, 1\]"):
        screening_figure({"a": {**report, "sensitivity": 90.0}})
