"""Hugging Face's ViTMAE encoder, eager: normalized float pixels to features.

Runs without this package and without Keras.
"""

import os
from typing import Any

import torch
import transformers
from transformers import ViTMAEModel

from contenders.torch_side import configuration


class TorchServed:
    """The encoder with nothing hidden, asked again and again.

    Args:
        sizes: from `configurations.sizes_of`.
    """

    def __init__(self, sizes: dict[str, Any]):
        height, width, channels = sizes["image_shape"]
        self.pixels = torch.rand(sizes["batch"], channels, height, width)
        self.model = ViTMAEModel(configuration({**sizes, "mask_ratio": 0.0})).eval()
        count = sum(parameter.numel() for parameter in self.model.parameters())
        framework = f"torch {torch.__version__}, transformers {transformers.__version__}"
        self.facts = {"framework": framework, "bytes": 4 * count}

    def run(self, steps: int) -> None:
        """Encode the batch, `steps` times; every answer is a NumPy array."""
        with torch.inference_mode():
            for _ in range(steps):
                self.model(self.pixels).last_hidden_state[:, 1:].mean(1).numpy()


def build(contender: str, sizes: dict[str, Any], dtype: str) -> TorchServed:
    """Make the contender of this file."""
    torch.manual_seed(0)
    if "OMP_NUM_THREADS" not in os.environ:  # PyTorch would count physical cores, the others all
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    return TorchServed(sizes)
