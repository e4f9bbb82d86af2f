"""Whether Hugging Face loads what `save_torch_weights` writes, with equal outputs.

In two environments, the first with mae_keras and safetensors, the second with torch and
transformers:

    python scripts/golden/round_trip.py write FOLDER
    python scripts/golden/round_trip.py check FOLDER
"""

import pathlib
import sys

import numpy as np

TOLERANCE = 1e-4


def write(folder: pathlib.Path) -> None:
    """Write a model of each kind, and what it computes."""
    import keras

    from mae_keras.interop import save_torch_weights
    from mae_keras.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder

    keras.utils.set_random_seed(0)
    constants = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    sizes = {"hidden_dim": 32, "num_layers": 2, "num_heads": 4, "mlp_dim": 48, **constants}

    def encoder(**options: object) -> ViTEncoder:
        return ViTEncoder((28, 28, 3), 14, **sizes, **options)

    learned = encoder(position_embedding="learned")
    decoder = MAEDecoder(16, 2, 2, 24)
    models = {
        "ViTMAEForPreTraining": MaskedAutoencoder(encoder(), decoder, normalize_targets=True),
        "ViTMAEModel": learned,
        "ViTForImageClassification": ImageClassifier(encoder(), 3, pooling="token"),
    }
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 28, 28, 3)).astype("uint8")
    noise = np.tile(np.arange(4, dtype="float32"), (2, 1))  # the first is seen, the rest hidden
    for name, model in models.items():
        for variable in model.trainable_variables:
            variable.assign(variable + rng.normal(0, 0.1, variable.shape))
        save_torch_weights(model, folder / name)
        if name == "ViTMAEForPreTraining":
            patches, _ = model.to_patches(keras.ops.convert_to_tensor(images))
            outputs = model({"patches": patches, "patch_mask": noise >= 1})
        else:
            outputs = model(images)
        np.savez(
            folder / f"{name}.npz",
            images=images,
            noise=noise,
            outputs=keras.ops.convert_to_numpy(outputs),
        )


def check(folder: pathlib.Path) -> None:
    """Load each with its class and its image processor, and compare."""
    import torch
    import transformers

    for file in sorted(folder.glob("*.npz")):
        expected, path = np.load(file), str(folder / file.stem)
        cls = getattr(transformers, file.stem)
        model, info = cls.from_pretrained(path, output_loading_info=True)
        wrong = {key: names for key, names in info.items() if names}
        processor = transformers.AutoImageProcessor.from_pretrained(path)
        pixels = processor(list(expected["images"]), return_tensors="pt").pixel_values
        options = {}
        if "MAE" in file.stem:
            options["noise"] = torch.from_numpy(expected["noise"])
        with torch.no_grad():
            outputs = model.eval()(pixels, **options)
        found = outputs[0] if file.stem == "ViTMAEModel" else outputs.logits
        off = np.abs(found.numpy() - expected["outputs"]).max()
        print(
            f"{file.stem}: names that do not fit: {wrong or 'none'}; largest difference {off:.1e}"
        )
        if wrong or not off <= TOLERANCE:
            sys.exit(f"{file.stem} differs")


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
