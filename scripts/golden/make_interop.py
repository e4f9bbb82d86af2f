"""Writes tests/golden/interop.npz: what PyTorch models compute with weights drawn from a seed.

`tests/interop/test_parity.py` puts the same weights into files of every kind, loads them with
`mae_keras.interop` and compares. The weights themselves, 112 million for ViT-B, are not stored:
`tests/interop/torch_files.py` draws them from the seed and the tensor's name, here and there.

- MAE: Hugging Face's `ViTMAEForPreTraining`, loaded by `from_pretrained` from the names of the
  files on the hub; nothing may be missing or unexpected. Position tables are Hugging Face's own.
- timm: `VisionTransformer` by `load_state_dict(strict=True)`: the encoder of facebookresearch/mae
  and, with mean pooling, its fine-tuned classifier (`models_vit.py`, `global_pool`).
- A few small files as `torch.save` writes them, among them one of the old format and one of half
  precision.
"""

import argparse
import io
import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
import transformers

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts" / "golden")]

from interop import golden_cases, torch_files  # noqa: E402
from make_vit_mae import position_table  # noqa: E402


def table(grid: tuple[int, int], width: int, class_token: bool) -> np.ndarray:
    """A sin-cos table by Hugging Face's function."""
    return position_table(list(grid), width, class_token)[None].numpy()


def tensors_of(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """The weights of a case under the names of facebookresearch/mae."""
    options = {key: case[key] for key in ("learned", "qkv_bias") if key in case}
    return torch_files.meta_tensors(case["seed"], **options, table=table, **case["sizes"])


def run_hugging_face(case: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Outputs of `ViTMAEForPreTraining` or `ViTForImageClassification`."""
    sizes, heads = golden_cases.sizes_of(case), case["heads"]
    settings = {
        "hidden_size": sizes["width"],
        "num_hidden_layers": sizes["depth"],
        "intermediate_size": sizes["mlp"],
        "num_attention_heads": heads[0],
        "image_size": golden_cases.image_shape(case)[0],
        "patch_size": sizes["patch"][0],
        "num_channels": sizes["channels"],
        "layer_norm_eps": case["epsilon"],
        "qkv_bias": case.get("qkv_bias", True),
        "attn_implementation": "eager",
    }
    if case["kind"] == "mae":
        narrow, layers, hidden = sizes["decoder"]
        config = transformers.ViTMAEConfig(
            **settings,
            decoder_hidden_size=narrow,
            decoder_num_hidden_layers=layers,
            decoder_intermediate_size=hidden,
            decoder_num_attention_heads=heads[1],
            norm_pix_loss=case["norm_pix_loss"],
        )
        model = load(transformers.ViTMAEForPreTraining, config, tensors_of(case))
        return run_mae(model, case)
    config = transformers.ViTConfig(**settings, num_labels=sizes["classes"])
    model = load(transformers.ViTForImageClassification, config, tensors_of(case))
    return {"logits": model(torch.from_numpy(golden_cases.normalized(case))).logits}


def load(cls: type, config: Any, tensors: dict[str, np.ndarray]) -> Any:
    """Load tensors the way users do; every name must fit."""
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        named = {
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name, array in torch_files.to_hugging_face(tensors).items()
        }
        path = pathlib.Path(folder) / "model.safetensors"
        safetensors.torch.save_file(named, path, metadata={"format": "pt"})
        model, info = cls.from_pretrained(
            folder, output_loading_info=True, attn_implementation="eager"
        )
    wrong = {key: names for key, names in info.items() if names}
    if wrong:
        raise ValueError(f"Hugging Face does not take the names as they are: {wrong}")
    return model.eval()


def run_mae(model: Any, case: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Tokens of the visible patches in raster order, predictions and loss."""
    pixels = torch.from_numpy(golden_cases.normalized(case))
    noise = torch.from_numpy(golden_cases.noise(case))
    tokens = model.vit(pixels, noise=noise).last_hidden_state
    order = noise.argsort(dim=1)[:, : tokens.shape[1] - 1].argsort(dim=1)
    visible = tokens[:, 1:].gather(1, order[..., None].expand(-1, -1, tokens.shape[-1]))
    outputs = model(pixels, noise=noise)
    hidden = torch.from_numpy(golden_cases.patch_mask(case))
    if not torch.equal(outputs.mask.bool(), hidden):
        raise ValueError("the mask is not the one that the tests make of the noise")
    return {
        "tokens": torch.cat([tokens[:, :1], visible], dim=1),
        "predictions": outputs.logits,
        "loss": outputs.loss,
    }


def run_timm(case: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Tokens or logits of timm's `VisionTransformer`."""
    sizes = golden_cases.sizes_of(case)
    classes = sizes.get("classes")
    mean_pooling = classes is not None and sizes.get("mean_pooling", True)
    model = timm.models.VisionTransformer(
        img_size=golden_cases.image_shape(case)[:2],
        patch_size=sizes["patch"],
        in_chans=sizes["channels"],
        num_classes=classes or 0,
        global_pool="avg" if mean_pooling else ("token" if sizes.get("class_token", True) else ""),
        fc_norm=mean_pooling,
        embed_dim=sizes["width"],
        depth=sizes["depth"],
        num_heads=case["heads"][0],
        mlp_ratio=sizes["mlp"] / sizes["width"],
        class_token=sizes.get("class_token", True),
        qkv_bias=case.get("qkv_bias", True),
    )
    tensors = {name: torch.from_numpy(array) for name, array in tensors_of(case).items()}
    model.load_state_dict(tensors, strict=True)
    pixels = torch.from_numpy(golden_cases.normalized(case))
    if classes is None:
        return {"tokens": model.eval().forward_features(pixels)}
    return {"logits": model.eval()(pixels)}


def saved_files() -> dict[str, np.ndarray]:
    """Bytes of small files as `torch.save` writes them."""
    tensors = torch_files.meta_tensors(
        7, table=table, width=8, depth=1, mlp=8, grid=(2, 2), decoder=(8, 1, 8), channels=1
    )
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    training = {
        "model": state,
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(
            norm_pix_loss=True, mask_ratio=0.6, device=torch.device("cuda"), betas=(0.9, 0.95)
        ),
    }
    half = {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}
    half["norm.weight"] = state["norm.weight"].half()
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}
    views = {**state, "norm.weight": torch.stack([state["norm.weight"]] * 2).T[:, 1]}
    files = {"training": training, "half": half, "parameters": parameters, "views": views}
    found = {name: as_bytes(content) for name, content in files.items()}
    found["legacy"] = as_bytes({"model": state}, _use_new_zipfile_serialization=False)
    return found


def as_bytes(content: Any, **options: Any) -> np.ndarray:
    """What `torch.save` writes."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return np.frombuffer(file.getvalue(), "uint8")


def main() -> None:
    """Write the file."""
    torch.set_num_threads(1)
    found = {f"file/{name}": content for name, content in saved_files().items()}
    for name, case in golden_cases.CASES.items():
        with torch.no_grad():
            outputs = run_timm(case) if case["kind"] == "timm" else run_hugging_face(case)
        for key, tensor in outputs.items():
            array = tensor.numpy()
            found[f"{name}/{key}"] = golden_cases.kept(case, array) if array.ndim else array
            print(name, key, array.shape, found[f"{name}/{key}"].shape, float(np.abs(array).mean()))
    source = (
        f"transformers {transformers.__version__}, timm {timm.__version__}, "
        f"torch {torch.__version__}"
    )
    path = ROOT / "tests" / "golden" / "interop.npz"
    np.savez_compressed(path, metadata=np.array(json.dumps({"source": source})), **found)
    print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
