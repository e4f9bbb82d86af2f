"""Whether a resumed run is computed as it was before it stopped."""

from typing import Any

import keras


class ComputedAs:
    """Keep in checkpoints how a model is computed, and say where a resumed run does otherwise.

    Sums are then made in another order, and the run ends as it would have within rounding, not to
    the bit.

    Args:
        model: compiled `MaskedAutoencoder`.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2)
    >>> model.compile(jit_compile=False)
    >>> ComputedAs(model).get_state()
    {'xla': 'nothing', 'branches': 1}
    """

    def __init__(self, model: keras.Model):
        self._now = {"xla": model.xla, "branches": model.num_branches}

    def get_state(self) -> dict[str, Any]:
        """What is kept."""
        return self._now

    def set_state(self, state: dict[str, Any]) -> None:
        """Compare with what was kept."""
        if state != self._now:
            print(
                f"Until here {_said(state)}; from here {_said(self._now)}: the same run within "
                "rounding, not to the bit"
            )


def _said(state: dict[str, Any]) -> str:
    return f"XLA compiled {state.get('xla')}, in branches: {state.get('branches')}"
