"""Print the table of docs/results.md from the folders of runs.

python scripts/results.py runs/digits runs/mnist runs/cifar10
"""

import json
import pathlib
import sys

COLUMNS = (
    "run",
    "epochs",
    "hidden-patch loss",
    "best naive baseline",
    "20-NN: trained / untrained / pca / pixels",
    "linear probe: trained / untrained / pca / pixels",
    "images/s",
    "wall s",
)


def row(folder: pathlib.Path) -> list[str]:
    """Cells of one run."""
    config, metrics = (
        json.loads((folder / name).read_text()) for name in ("config.json", "metrics.json")
    )
    name, best = min(metrics["baseline_loss"].items(), key=lambda item: item[1])

    def scores(key: str) -> str:
        found = metrics[key]
        names = ("trained", "untrained", "pca", "pixels")  # older runs have no pca
        return " / ".join(f"{100 * found[name]:.1f}" if name in found else "-" for name in names)

    return [
        f"{config['dataset']}, {config['preset']}",
        str(config["epochs"]),
        f"{metrics['hidden_loss']:.3f}",
        f"{best:.3f} ({name})",
        scores("knn_accuracy"),
        scores("linear_probe_accuracy"),
        f"{metrics['images_per_second']:,.0f}",
        f"{metrics['wall_seconds']:.0f}",
    ]


def main() -> None:
    """Print the table."""
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for folder in sys.argv[1:]:
        print("| " + " | ".join(row(pathlib.Path(folder))) + " |")


if __name__ == "__main__":
    main()
