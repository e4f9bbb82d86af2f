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
        "The run beats every baseline in reconstruction (loss 0.1 against 0.2 for the nearest "
        "visible patches) and the linear probe (95.0 % against 90.0 % for raw pixels)."
    )


def test_the_best_baseline_is_named_also_where_it_is_not_beaten():
    said = verdict(
        {
            "hidden_loss": 0.15,
            "baseline_loss": LOSSES,
            "linear_probe_accuracy": scores(0.8),
            "knn_accuracy": scores(0.4, untrained=0.95),
        }
    )
    assert said == (
        "The run beats every baseline in reconstruction (loss 0.15 against 0.2 for the nearest "
        "visible patches), but not in the linear probe (80.0 % against 90.0 % for raw pixels) and "
        "20-NN (40.0 % against 95.0 % for untrained features)."
    )


def test_a_tie_or_nan_is_no_victory():
    for loss in (0.2, float("nan")):
        said = verdict({"hidden_loss": loss, "baseline_loss": LOSSES})
        assert said.startswith("The run does not beat the best baseline in reconstruction (loss ")
    assert "but not in 20-NN (50.0 % against 50.0 % for " in verdict(
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
    assert sentence.endswith(", but not in 20-NN (95.0 % against 97.0 % for PCA).")


def test_a_run_of_few_steps_says_that_it_cannot_be_judged():
    loss = {"hidden_loss": 0.6, "baseline_loss": LOSSES}
    assert verdict({**loss, "steps": 78}).endswith(
        "78 steps are too few to learn much. Raise --epochs to reach 1,000 steps."
    )
    for enough in (1000, 12_645, None):
        assert "steps" not in verdict({**loss, "steps": enough})
