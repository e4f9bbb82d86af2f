"""What a checkpoint says of its model that no tensor shows, compared with a model that exists."""

import math
from typing import Any

import keras

from mae_keras.interop.stored_tensors import Checkpoint
from mae_keras.interop.weight_places import encoder_of, has_reference_decoder


def check_settings(model: keras.Model, checkpoint: Checkpoint) -> list[str]:
    """Compare heads, epsilons and targets.

    Args:
        model: model of a kind that `places_of` takes.
        checkpoint: with its `config.json` and training arguments, where it has them.

    Returns:
        A sentence for each difference that changes outputs a little, or only the loss.

    Raises:
        ValueError: if the number of attention heads differs, which changes everything.
    """
    encoder, config, notes = encoder_of(model), checkpoint.config, []
    _check_heads("num_heads", encoder.num_heads, config.get("num_attention_heads"))
    epsilon, own = config.get("layer_norm_eps"), encoder.layer_norm_epsilon
    if epsilon is not None and not math.isclose(float(epsilon), own, rel_tol=1e-6):
        notes.append(
            f"The checkpoint's norms have an epsilon of {epsilon:g} (config.json), the model's "
            f"{own:g}: outputs differ a little."
        )
    if has_reference_decoder(model):
        heads = config.get("decoder_num_attention_heads")
        _check_heads("decoder_num_heads", model.decoder.num_heads, heads)
        told = {**checkpoint.settings, **config}.get("norm_pix_loss")
        if told is not None and bool(told) != model.normalize_targets:
            notes.append(
                f"The checkpoint was trained with norm_pix_loss={told}, the model has "
                f"normalize_targets={model.normalize_targets}: its pictures will be wrong."
            )
    return notes


def _check_heads(name: str, ours: int, theirs: Any) -> None:
    if theirs is not None and int(theirs) != ours:
        raise ValueError(
            f"`{name}` of the model must be {theirs}, as in the checkpoint's config.json. "
            f"Received: {name}={ours}"
        )
