"""What a run's weights give away of its training images, measured: `mae-keras audit`."""

import dataclasses
import os
from typing import Any

from mae_keras.arguments import check_int
from mae_keras.evaluation.membership import MembershipResult, masked_losses, membership_attack
from mae_keras.models import load_model
from mae_keras.run_contents import check_kind
from mae_keras.runs.building import load_images, located, may_be_trained_on
from mae_keras.runs.exporting import recipe_of
from mae_keras.runs.folder import RunFolder


def audit_run(
    path: str | os.PathLike[str],
    num_masks: int = 8,
    max_images: int = 2000,
    data_dir: str | None = None,
    images: Any = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Attack a run by membership inference and write `audit.json` into its folder.

    An attacker who has the model and an image guesses by its loss whether it was trained on. The
    run's test images are what it was not trained on.

    Args:
        path: folder of a run that `pretrain` wrote.
        num_masks: int, masks per image. Defaults to `8`.
        max_images: int, at most so many training images and as many held-out ones. Defaults to
            `2000`.
        data_dir: folder of TensorFlow Datasets.
        images: `data.ImageData` to use in place of the run's own data set.
        seed: int, of the interval.

    Returns:
        What `audit.json` holds.

    Raises:
        ValueError: if the folder holds no finished run, or its data have changed: then it is not
            known which images were trained on.

    Example:
    >>> audit_run("runs/private")["membership"]["auc"]  # doctest: +SKIP
    0.503
    """
    num_masks = check_int("num_masks", num_masks, 1, 10**4)
    max_images = check_int("max_images", max_images, 2, 10**7)
    run = RunFolder(path)
    run.check_kinds()
    if not run.config.exists() or not run.model.exists():
        raise ValueError(
            f"`run` must be the folder of a finished run. Received: {str(run.path)!r}, which holds "
            f"no {'model.keras' if run.config.exists() else 'config.json'}"
        )
    check_kind(run.path, "autoencoder", "Audits attack pretraining.")
    config = run.read_config()
    run.check_metrics()
    model = load_model(run.model, compile=False)
    if images is None:
        recipe = recipe_of(run, config)
        place = located(recipe.dataset, config.get("data"))
        images = load_images(dataclasses.replace(recipe, dataset=place), data_dir, model)
    changed = may_be_trained_on(config.get("data"), images)
    if changed:
        raise ValueError(f"An audit needs the images of the run. Received: others. {changed}")
    members, _ = images.train.arrays(limit=max_images)
    others, _ = images.test.arrays(limit=max_images)
    losses = [masked_losses(model, part, num_masks) for part in (members, others)]
    result = membership_attack(*losses, seed=seed)
    audit = {
        "membership": {**result._asdict(), "interval": list(result.interval)},
        "num_masks": num_masks,
        "privacy": _privacy(run),
    }
    run.write_json(run.audit, audit)
    return audit


def _privacy(run: RunFolder) -> Any:
    metrics = run.read_json(run.metrics) if run.metrics.exists() else {}
    return metrics.get("privacy")


def audit_text(audit: dict[str, Any]) -> str:
    """What `mae-keras audit` prints.

    Args:
        audit: as `audit_run` returns it.

    Returns:
        A few lines, the last one a sentence that says what it means.

    Example:
    >>> from mae_keras.evaluation import membership_attack
    >>> found = membership_attack([0.1, 0.2], [0.1, 0.2])._asdict()
    >>> print(audit_text({"membership": found, "num_masks": 8, "privacy": None}).splitlines()[-1])
    The attack cannot tell training images from held-out ones; a better attack may.
    """
    found = MembershipResult(**audit["membership"])
    low, high = found.interval
    lines = [
        f"Membership inference by the loss of {audit['num_masks']} masks, {found.num_members:,} "
        f"training images against {found.num_others:,} held-out ones:",
        f"  AUC {found.auc:.3f} (95 % interval {low:.3f} to {high:.3f}; 0.5: nothing can be told)",
        f"  {found.true_positive_rate:.1%} of the training images recognized at "
        f"{found.false_positive_rate:.0%} false alarms",
    ]
    privacy = audit["privacy"]
    if privacy:
        lines.append(f"  trained with epsilon {privacy['epsilon']:.3g}, delta {privacy['delta']:g}")
    else:
        lines.append("  trained without differential privacy: nothing bounds what others can tell")
    if low > 0.5:
        lines.append("The model gives away which images it was trained on.")
    elif high < 0.5:
        lines.append("Training images have the higher loss: the two groups differ otherwise.")
    else:
        lines.append(
            "The attack cannot tell training images from held-out ones; a better attack may."
        )
    return "\n".join(lines)
