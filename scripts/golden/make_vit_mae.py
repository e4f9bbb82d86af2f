"""Writes tests/golden/vit_mae_*.npz and positions.npz: what Hugging Face's ViTMAE computes.

`tests/parity/test_vit_mae.py` compares mae_keras with these numbers; no test needs PyTorch.

Where `ViTMAEForPreTraining` is not used as it is:

- Every parameter is redrawn (a fresh model has zero biases and unit norms, which hide mistakes),
  in steps of 1/64 so that the files stay small. Position tables are not.
- In transformers 5.23 a fresh model's position tables are all zero: `post_init` initialises the
  projection first, which makes the embeddings' `initialize_weights` return at once, and overwrites
  the decoder's table with zeros. The two methods that make the tables are called here again.
- It cannot take rectangles: the embeddings accept `(height, width)` for images and patches, but
  the position tables are built for `int(sqrt(num_patches))` squared, and decoder and `patchify`
  use `patch_size` as one number. `Rectangular` therefore builds the square model with equally
  many patches and equally many pixels in each, puts in Hugging Face's own embeddings for the
  rectangle and position tables made by Hugging Face's own function for the rectangular grid, and
  replaces `patchify`, by the same permutation with two sizes. That permutation is the only
  arithmetic of the rectangular case that is not Hugging Face's.
- Earlier versions had `get_2d_sincos_pos_embed`; this one has
  `build_2d_sinusoidal_position_embedding`, whose halves its models swap after the call.
"""

import json
import pathlib
from typing import Any

import numpy as np
import torch
import transformers
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.models.vit_mae import modeling_vit_mae

GOLDEN = pathlib.Path(__file__).parents[2] / "tests" / "golden"
BATCH = 2
WIDTHS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 20,
}
SQUARE = {"image_size": [8, 8], "patch_size": [2, 2], "mask_ratio": 0.75}
# The epsilons: Hugging Face's default, Meta's, and one large enough to be seen in every number.
CASES = {
    "standardised": {
        **SQUARE,
        "seed": 1,
        "num_channels": 3,
        "norm_pix_loss": True,
        "layer_norm_eps": 1e-12,
        "value_range": [0, 255],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "pixels": {
        **SQUARE,
        "seed": 2,
        "num_channels": 3,
        "norm_pix_loss": False,
        "layer_norm_eps": 1e-6,
        "other_image_size": [12, 6],
    },
    "rectangle": {
        "seed": 3,
        "image_size": [16, 9],
        "patch_size": [4, 1],
        "mask_ratio": 0.6,
        "num_channels": 2,
        "norm_pix_loss": True,
        "layer_norm_eps": 1e-2,
    },
}
INTERPOLATIONS = {
    "larger": ((4, 5), (7, 9)),
    "smaller": ((4, 5), (3, 2)),
    "mixed": ((3, 6), (8, 2)),
    "single row": ((1, 4), (3, 6)),
}


class Rectangular(ViTMAEForPreTraining):
    """`ViTMAEForPreTraining` for rectangular images and patches; see the module's docstring."""

    def __init__(self, config: ViTMAEConfig, image_size: list[int], patch_size: list[int]):
        super().__init__(config)
        rectangle = ViTMAEConfig.from_dict(
            {**config.to_dict(), "image_size": image_size, "patch_size": patch_size}
        )
        self.grid = [image // patch for image, patch in zip(image_size, patch_size, strict=True)]
        self.sizes = patch_size
        embeddings = modeling_vit_mae.ViTMAEEmbeddings(rectangle)
        for table, width in (
            (embeddings.position_embeddings, config.hidden_size),
            (self.decoder.decoder_pos_embed, config.decoder_hidden_size),
        ):
            table.data.copy_(position_table(self.grid, width, class_token=True))
        self.vit.embeddings = embeddings

    def patchify(self, pixel_values: torch.Tensor, **_: Any) -> torch.Tensor:
        """As the original, with two grid sizes and two patch sizes."""
        (rows, columns), (height, width) = self.grid, self.sizes
        batch, channels = pixel_values.shape[:2]
        cut = pixel_values.reshape(batch, channels, rows, height, columns, width)
        cut = cut.permute(0, 2, 4, 3, 5, 1)
        return cut.reshape(batch, rows * columns, height * width * channels)


def position_table(grid: list[int], width: int, class_token: bool) -> torch.Tensor:
    """Sin-cos table of a grid as `ViTMAEEmbeddings.initialize_weights` makes it.

    Args:
        grid: two ints, patches per axis.
        width: int, features per position.
        class_token: bool, whether a zero row is put first.

    Returns:
        Tensor `([1 +] num_patches, width)`.
    """
    table = modeling_vit_mae.build_2d_sinusoidal_position_embedding(
        height=grid[0], width=grid[1], embed_dim=width, cls_token=class_token
    )
    return torch.cat([table[..., width // 2 :], table[..., : width // 2]], dim=-1)


def steps(values: np.ndarray) -> np.ndarray:
    """Round to multiples of 1/64, which compress well."""
    return (np.round(values * 64) / 64).astype("float32")


def build(case: dict[str, Any]) -> ViTMAEForPreTraining:
    """The model of a case, every parameter redrawn from its seed.

    Args:
        case: an entry of `CASES`.

    Returns:
        `ViTMAEForPreTraining` in evaluation mode.
    """
    image, patch = np.array(case["image_size"]), np.array(case["patch_size"])
    side, patch_side = np.sqrt(np.prod(image // patch)), np.sqrt(np.prod(patch))
    if side % 1 or patch_side % 1:
        raise ValueError(f"Numbers of patches and of their pixels must be squares: {case}")
    settings = ("mask_ratio", "num_channels", "norm_pix_loss", "layer_norm_eps")
    config = ViTMAEConfig(
        **WIDTHS,
        **{name: case[name] for name in settings},
        image_size=int(side * patch_side),
        patch_size=int(patch_side),
        attn_implementation="eager",
    )
    if image[0] == image[1] and patch[0] == patch[1]:
        model = ViTMAEForPreTraining(config)
        embeddings = model.vit.embeddings
        embeddings.patch_embeddings.projection._is_hf_initialized = False
        embeddings.initialize_weights()
        model.decoder.initialize_weights(embeddings.patch_embeddings.num_patches)
    else:
        model = Rectangular(config, case["image_size"], case["patch_size"])
    rng = np.random.default_rng(case["seed"])
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        values = rng.normal(0, 0.3, tuple(parameter.shape))
        if "norm" in name and name.endswith("weight"):
            values += 1.0
        parameter.data.copy_(torch.from_numpy(steps(values)))
    return model.eval()


def draw_images(case: dict[str, Any], image_size: list[int]) -> tuple[np.ndarray, torch.Tensor]:
    """Images as mae_keras takes them, and as Hugging Face does.

    Args:
        case: an entry of `CASES`.
        image_size: two ints, in pixels.

    Returns:
        Array `(batch, height, width, channels)`, uint8 when the case has a value range, and
        float32 tensor `(batch, channels, height, width)`, normalised.
    """
    rng = np.random.default_rng([case["seed"], 1])
    shape = (BATCH, *image_size, case["num_channels"])
    if "value_range" in case:
        images = rng.integers(0, 256, shape).astype("uint8")
        pixels = (images / 255.0 - np.array(case["mean"])) / np.array(case["std"])
    else:
        images = pixels = steps(rng.normal(0, 1, shape))
    channels_first = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), "float32")
    return images, torch.from_numpy(channels_first)


def run_case(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """Everything that the tests compare, for one case.

    Args:
        case: an entry of `CASES`.

    Returns:
        Arrays by name. Parameters are one vector, `weights`, their names and shapes (JSON) in
        `parameters`: an entry of its own for each would cost more than its numbers. `gradients`
        likewise, with zeros for the position tables, which are not trained.
    """
    model = build(case)
    images, pixels = draw_images(case, case["image_size"])
    num_patches = model.vit.embeddings.patch_embeddings.num_patches
    noise = np.random.default_rng([case["seed"], 2]).random((BATCH, num_patches))
    noise = torch.from_numpy(noise.astype("float32"))
    latent = model.vit(pixels, noise=noise)
    outputs = model(pixels, noise=noise)
    outputs.loss.backward()
    num_visible = latent.last_hidden_state.shape[1] - 1
    found = {
        "images": images,
        "patch_mask": outputs.mask.bool(),
        "kept": torch.argsort(outputs.ids_restore, dim=1)[:, :num_visible].int(),
        "patches": model.patchify(pixels),
        "encoder_tokens": latent.last_hidden_state,
        "predictions": outputs.logits,
        "loss": outputs.loss,
    }
    parameters = dict(model.named_parameters())
    found["parameters"] = json.dumps({name: list(p.shape) for name, p in parameters.items()})
    found["weights"] = torch.cat([p.flatten() for p in parameters.values()])
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters.values()]
    found["gradients"] = torch.cat([gradient.flatten() for gradient in gradients])
    if "other_image_size" in case:
        found.update(run_other_size(model, case))
    return {name: as_array(value) for name, value in found.items()}


def run_other_size(model: ViTMAEForPreTraining, case: dict[str, Any]) -> dict[str, Any]:
    """The encoder on images of another size: interpolated positions, nothing hidden.

    Args:
        model: the model of the case.
        case: an entry of `CASES`.

    Returns:
        Arrays and tensors by name.
    """
    images, pixels = draw_images(case, case["other_image_size"])
    model.vit.config.mask_ratio = 0.0
    area = int(np.prod(case["other_image_size"]) // np.prod(case["patch_size"]))
    in_order = torch.arange(area, dtype=torch.float32).repeat(BATCH, 1)
    tokens = model.vit(pixels, noise=in_order, interpolate_pos_encoding=True).last_hidden_state
    model.vit.config.mask_ratio = case["mask_ratio"]
    return {"other_images": images, "other_encoder_tokens": tokens}


def as_array(value: Any) -> np.ndarray:
    """A tensor, or what NumPy takes, as a NumPy array."""
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def run_positions() -> dict[str, np.ndarray]:
    """Sin-cos tables, and bicubic interpolation of random ones.

    Returns:
        Arrays by name.
    """
    found = {
        "sincos/5x3": position_table([5, 3], 12, class_token=False).numpy(),
        "sincos/2x7": position_table([2, 7], 8, class_token=False).numpy(),
    }
    rng = np.random.default_rng(4)
    for name, (source, target) in INTERPOLATIONS.items():
        table = steps(rng.normal(0, 1, (*source, 6)))
        channels_first = torch.from_numpy(table.transpose(2, 0, 1)[None].copy())
        resized = torch.nn.functional.interpolate(
            channels_first, size=target, mode="bicubic", align_corners=False
        )
        found[f"source/{name}"] = table
        found[f"target/{name}"] = resized[0].permute(1, 2, 0).numpy()
    return found


def save(name: str, arrays: dict[str, np.ndarray], **about: Any) -> None:
    """Write one file, with what it was made from as JSON in `metadata`.

    Args:
        name: str, the file's name without its ending.
        arrays: arrays by name.
        **about: JSON values that go into the metadata.
    """
    source = f"transformers {transformers.__version__}, torch {torch.__version__}"
    metadata = json.dumps({"source": source, **about})
    path = GOLDEN / f"{name}.npz"
    np.savez_compressed(path, metadata=np.array(metadata), **arrays)
    print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")


def main() -> None:
    """Write all files."""
    torch.set_num_threads(1)
    GOLDEN.mkdir(exist_ok=True)
    for name, case in CASES.items():
        save(f"vit_mae_{name}", run_case(case), config={**WIDTHS, **case}, seed=case["seed"])
    save("positions", run_positions(), seed=4)


if __name__ == "__main__":
    main()
