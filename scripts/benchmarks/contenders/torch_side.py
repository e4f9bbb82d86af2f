"""The contenders on PyTorch: Hugging Face's ViTMAE, eager and compiled.

Runs without this package and without Keras. Hugging Face as its users get the most of it: scaled
dot-product attention, and the fused AdamW that its `Trainer` takes by default. Pixels are float
and normalized beforehand, which mae_keras does in every step.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import ViTMAEConfig, ViTMAEForPreTraining

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class TorchContender:
    """ViTMAE and its optimizer, trained on one batch that stays in the device's memory.

    Args:
        sizes: from `configurations.sizes_of`.
        dtype: `"float32"`, or `"bfloat16"`: autocast, weights in float32.
        compiled: whether the model goes through `torch.compile`.
    """

    def __init__(self, sizes: dict[str, Any], dtype: str, compiled: bool):
        height, width, channels = sizes["image_shape"]
        self.pixels = torch.rand(sizes["batch"], channels, height, width, device=DEVICE)
        self.model = ViTMAEForPreTraining(configuration(sizes)).to(DEVICE).train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True
        )
        self.step_model = torch.compile(self.model) if compiled else self.model
        half = dtype == "bfloat16"
        self.precision = (
            (lambda: torch.autocast(DEVICE, torch.bfloat16)) if half else contextlib.nullcontext
        )
        self.facts = {
            "parameters": sum(p.numel() for p in trained),
            "jit_compile": compiled,
            "framework": f"torch {torch.__version__}, transformers {transformers.__version__}",
            "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        }

    def run(self, steps: int) -> None:
        """Train, and wait until the last step is done."""
        for _ in range(steps):
            with self.precision():
                loss = self.step_model(self.pixels).loss
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        wait()


def configuration(sizes: dict[str, Any]) -> ViTMAEConfig:
    """The same sizes in the words of Hugging Face."""
    return ViTMAEConfig(
        image_size=sizes["image_shape"][0],
        num_channels=sizes["image_shape"][2],
        patch_size=sizes["patch"],
        mask_ratio=sizes["mask_ratio"],
        hidden_size=sizes["hidden_dim"],
        num_hidden_layers=sizes["num_layers"],
        num_attention_heads=sizes["num_heads"],
        intermediate_size=sizes["mlp_dim"],
        decoder_hidden_size=sizes["decoder_hidden_dim"],
        decoder_num_hidden_layers=sizes["decoder_num_layers"],
        decoder_num_attention_heads=sizes["decoder_num_heads"],
        decoder_intermediate_size=sizes["decoder_mlp_dim"],
        attn_implementation="sdpa",
    )


def wait() -> None:
    """Until the device has nothing left to do."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def build(contender: str, sizes: dict[str, Any], dtype: str) -> TorchContender:
    """Make one of the two contenders of this file."""
    torch.manual_seed(0)
    if "OMP_NUM_THREADS" not in os.environ:  # PyTorch would count physical cores, TensorFlow all
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    return TorchContender(sizes, dtype, compiled=contender == "hf_compile")


def matrix_product(size: int, dtype: str) -> Callable[[], None]:
    """A function that multiplies two square matrices and waits for the result."""
    matrix = torch.randn(size, size, device=DEVICE, dtype=getattr(torch, dtype))

    def multiply() -> None:
        torch.matmul(matrix, matrix)
        wait()

    return multiply
