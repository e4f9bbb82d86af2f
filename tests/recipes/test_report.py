"""The words say what the numbers say."""

from mae_keras.runs.report import summary, verdict

LOSSES = {"mean_image": 0.5, "visible_mean": 1.0, "nearest_visible": 0.2}


def scores(trained, untrained=0.5, pixels=0.9):
    return {"trained": trained, "untrained": untrained, "pixels": pixels}


def test_a_run_that_beats_everything_says_so():
    said = verdict(
        {"hidden_loss": 0.1, "baseline_loss": LOSSES, "linear_probe_accuracy": scores(0.95)}
    )
    assert said == (
        "The run beats all the naive baselines; its features beat untrained ones and raw "
        "pixels in the linear probe."
    )


def test_what_is_not_beaten_is_named():
    said = verdict(
        {
            "hidden_loss": 0.3,
            "baseline_loss": LOSSES,
            "linear_probe_accuracy": scores(0.8),
            "knn_accuracy": scores(0.4),
        }
    )
    assert said == (
        "The run does not beat nearest_visible in reconstruction; its features beat untrained "
        "ones but not raw pixels in the linear probe and do not beat untrained ones and raw "
        "pixels in 20-NN."
    )


def test_a_tie_or_nan_is_no_victory():
    for loss in (0.2, float("nan")):
        assert "does not beat" in verdict({"hidden_loss": loss, "baseline_loss": LOSSES})
    assert "do not beat" in verdict(
        {"hidden_loss": 0.1, "baseline_loss": LOSSES, "knn_accuracy": scores(0.5, 0.5, 0.5)}
    )


def test_the_summary_has_every_number():
    text = summary(
        {
            "hidden_loss": 0.1234,
            "baseline_loss": LOSSES,
            "knn_accuracy": scores(0.91),
            "linear_probe_accuracy": None,
            "images_per_second": 1234.5,
            "compile_seconds": 5.0,
            "wall_seconds": 60.0,
        }
    )
    for piece in ("0.1234", "0.5", "91.0%", "50.0%", "90.0%", "1,234 images/s", "60.0 s"):
        assert piece in text
    assert text.splitlines()[-1] == verdict(
        {"hidden_loss": 0.1234, "baseline_loss": LOSSES, "knn_accuracy": scores(0.91)}
    )


def test_principal_components_are_named_where_they_were_measured():
    metrics = {"hidden_loss": 1.0, "baseline_loss": {"mean_image": 2.0}}
    measured = {**scores(0.95), "pca": 0.97}
    sentence = verdict({**metrics, "knn_accuracy": measured})
    assert sentence.endswith("beat untrained ones and raw pixels but not their PCA in 20-NN.")


def test_a_run_of_few_steps_says_that_it_cannot_be_judged():
    loss = {"hidden_loss": 0.6, "baseline_loss": LOSSES}
    assert verdict({**loss, "steps": 78}).endswith(
        "78 steps are too few to learn much. Raise --epochs to reach 1,000 steps."
    )
    for enough in (1000, 12_645, None):
        assert "steps" not in verdict({**loss, "steps": enough})
