"""What int8 costs: size, features and k-NN accuracy of a run's encoder as LiteRT files.

    TFDS_DATA_DIR=... python scripts/benchmarks/quantization.py RUN \
        [--train-images 10000] [--test-images 2000] [--seed 0]

Needs the extra `litert`. Prints a row each for the live model, float32 and int8 and writes
`RUN/quantization.json`.
"""

import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from finished_runs import arguments, draw

from mae_keras import evaluation
from mae_keras.interop import export_litert
from mae_keras.runs import RunFolder

BATCH = 100


def encoder_of(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """Images to features by a LiteRT file."""
    run = Interpreter(str(path)).get_signature_runner("encode")

    def encode(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), BATCH)
        parts = [run(images=images[start : start + BATCH])["features"] for start in starts]
        return np.concatenate(parts)

    return encode


def main() -> None:
    """Export twice, encode thrice, compare."""
    options = arguments(__doc__.splitlines()[0], test_images=2000).parse_args()
    model, _, train, test = draw(options)
    encoders, sizes = {"live": model.encode}, {"live": 4 * model.encoder.count_params()}
    live, results = model.encode(test[0]), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("float32", "int8"):
            path = pathlib.Path(folder) / f"{name}.tflite"
            export_litert(model, path, signatures=["encode"], quantize=name == "int8")
            encoders[name], sizes[name] = encoder_of(path), path.stat().st_size
        for name, encode in encoders.items():
            train_features, test_features = encode(train[0]), encode(test[0])
            difference = np.abs(test_features - live).max() / np.abs(live).max()
            found = evaluation.knn_accuracy(train_features, train[1], test_features, test[1])
            results[name] = {
                "bytes": sizes[name],
                "difference": float(difference),
                "knn_accuracy": found.test_accuracy,
            }
            print(
                f"| {name} | {sizes[name] / 1e6:.2f} MB | {difference:.1e} | "
                f"{100 * found.test_accuracy:.2f} % |",
                flush=True,
            )
    run = RunFolder(options.run)
    run.write_json(run.path / "quantization.json", {**results, **vars(options)})


if __name__ == "__main__":
    main()
