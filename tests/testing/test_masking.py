"""`check_masking` passes our strategies, and names what is wrong with broken ones."""

import doctest
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from mae_keras.layers import BlockMasking, GridMasking, PatchMasking, RandomMasking, TailMasking
from mae_keras.layers.masking import time_masking
from mae_keras.ops import counter_noise, hide_highest
from mae_keras.testing import CheckError, check_masking, mask_digest

REPOSITORY = pathlib.Path(__file__).parents[2]


class Saliency(PatchMasking):
    """Patches of high contrast are likelier to be hidden."""

    def scores(self, grid, step, samples, patches=None):
        noise = counter_noise(self.seed, step, samples, int(np.prod(grid)))
        return ops.std(patches, axis=-1) + 0.3 * noise


@pytest.mark.slow
def test_the_strategy_of_the_documentation_passes():
    text = (REPOSITORY / "docs" / "choosing.md").read_text()
    block = next(
        b for b in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if "Saliency" in b
    )
    names = {}
    for example in doctest.DocTestParser().get_examples(block):
        exec(compile(example.source, "choosing.md", "single"), names)
    check_masking(names["SaliencyMasking"](0.5, seed=0))


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("missing", ["proportional", "first"])
@pytest.mark.parametrize(
    "strategy", [RandomMasking, BlockMasking, GridMasking, TailMasking, time_masking, Saliency]
)
def test_strategies_that_keep_the_rules_pass(strategy, missing):
    fixed = strategy in (GridMasking, TailMasking)
    check_masking(strategy(0.6, seed=3, missing=missing), fixed=fixed)


class Random(PatchMasking):
    """What the broken ones break."""

    def scores(self, grid, step, samples):
        return counter_noise(self.seed, step, samples, int(np.prod(grid)))


class WrongShape(Random):
    def scores(self, grid, step, samples):
        return super().scores(grid, step, samples)[:, 1:]


class HoldsNaN(Random):
    def scores(self, grid, step, samples):
        return super().scores(grid, step, samples) * float("nan")


class OverridesDraw(Random):
    def change(self, mask, missing_mask):
        raise NotImplementedError

    def draw(self, grid, step, samples, missing_mask=None, patches=None):
        return self.change(super().draw(grid, step, samples, missing_mask), missing_mask)


class Integers(OverridesDraw):
    def change(self, mask, missing_mask):
        return ops.cast(mask, "int32")


class OneTooMany(OverridesDraw):
    def change(self, mask, missing_mask):
        return ops.logical_or(mask, np.arange(mask.shape[-1]) == 1)


class BreaksMissing(Random):
    """Draws as if nothing were missing."""

    def draw(self, grid, step, samples, missing_mask=None, patches=None):
        return super().draw(grid, step, samples)


class Otherwise(Random):
    """Draws other masks as soon as anything may be missing."""

    def draw(self, grid, step, samples, missing_mask=None, patches=None):
        step = step if missing_mask is None else step + 1
        return super().draw(grid, step, samples, missing_mask)


class NumPyNoise(Random):
    def scores(self, grid, step, samples):
        return np.random.default_rng().random((len(samples), int(np.prod(grid)))).astype("float32")


class PlaceInBatch(Random):
    def scores(self, grid, step, samples):
        places = ops.arange(ops.shape(samples)[0], dtype="int32")
        return super().scores(grid, step, places)


class BatchMean(PatchMasking):
    def scores(self, grid, step, samples, patches=None):
        noise = counter_noise(self.seed, step, samples, int(np.prod(grid)))
        own = ops.mean(patches, axis=-1)
        return noise + ops.where(ops.equal(samples, 0)[:, None], ops.mean(own, axis=0)[None], 0.0)


class NeverMoves(Random):
    def scores(self, grid, step, samples):
        return super().scores(grid, 0, samples)


class SameForAll(Random):
    def scores(self, grid, step, samples):
        return super().scores(grid, step, ops.zeros_like(samples))


class NoSeed(Random):
    def scores(self, grid, step, samples):
        return counter_noise(7, step, samples, int(np.prod(grid)))


class Forgets(Random):
    def __init__(self, shift=0, **kwargs):
        super().__init__(**kwargs)
        self.shift = shift

    def scores(self, grid, step, samples):
        return super().scores(grid, step + self.shift, samples)


class NoPlainConfig(Random):
    def get_config(self):
        return {**super().get_config(), "table": np.arange(3)}

    @classmethod
    def from_config(cls, config):
        return super().from_config({k: v for k, v in config.items() if k != "table"})


class NotRebuilt(Random):
    def get_config(self):
        return {**super().get_config(), "strength": 1.0}


class ByPolicy(Random):
    def scores(self, grid, step, samples):
        scores = super().scores(grid, step, samples)
        return ops.cast(ops.cast(scores, self.compute_dtype), "float32")


class NeverCounts(Random):
    def advance(self):
        pass


class MovesAtInference(Random):
    def call(self, tokens, training=False):
        if not training:
            samples = np.arange(tokens.shape[0], dtype="int32")
            return tokens, self.draw(self.grid, 9, samples)
        return super().call(tokens, training=training)


class EagerOnly(Random):
    def scores(self, grid, step, samples):
        eager = isinstance(samples, np.ndarray) or hasattr(samples, "numpy")
        return super().scores(grid, step if eager else step + 1, samples)


BROKEN = [
    (WrongShape, "must broadcast to"),
    (HoldsNaN, "must hold no NaN"),
    (Integers, "must give boolean masks"),
    (OneTooMany, "must hide exactly"),
    (NumPyNoise, "the same whenever the same step is drawn"),
    (PlaceInBatch, "must not depend on its place in the batch"),
    (BatchMean, "must not depend on (its place|other samples)"),
    (Otherwise, "With nothing missing"),
    (BreaksMissing, "patches present, BreaksMissing must hide"),
    (NeverMoves, "must change with the step"),
    (SameForAll, "must differ between samples"),
    (NoSeed, "must depend on its seed"),
    (NoPlainConfig, "must be made of plain values"),
    (NotRebuilt, "must come back from its config"),
    (ByPolicy, "must not change with the dtype policy"),
    (NeverCounts, "must count training calls"),
    (MovesAtInference, "must use the masks of step 0 at inference"),
    (EagerOnly, "same bits in eager and in compiled code"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "message"), BROKEN, ids=[s.__name__ for s, _ in BROKEN])
def test_what_is_broken_is_named(strategy, message, monkeypatch):
    monkeypatch.setattr("mae_keras.testing.masking._GRIDS", ((12,),))
    monkeypatch.setattr("mae_keras.testing.masking._RATIOS", (0.5,))
    with pytest.raises(CheckError, match=message):
        check_masking(strategy(mask_ratio=0.5, seed=0))


@pytest.mark.slow
def test_an_argument_that_the_config_forgets_is_named(monkeypatch):
    monkeypatch.setattr("mae_keras.testing.masking._GRIDS", ((12,),))
    with pytest.raises(CheckError, match="every argument of `__init__` belongs"):
        check_masking(Forgets(shift=5, mask_ratio=0.5, seed=0))


def test_a_strategy_that_draws_is_not_fixed(monkeypatch):
    monkeypatch.setattr("mae_keras.testing.masking._GRIDS", ((12,),))
    with pytest.raises(CheckError, match="must not change with the step if it is fixed"):
        check_masking(Random(0.5, seed=0), fixed=True)


def test_what_is_no_strategy_is_refused():
    with pytest.raises(CheckError, match="must be a subclass of PatchMasking"):
        check_masking(keras.layers.Dropout(0.5))


DIGESTS = """
from mae_keras.layers import GridMasking, RandomMasking
from mae_keras.layers.masking import time_masking
from mae_keras.testing import mask_digest
for strategy in (RandomMasking, GridMasking, time_masking):
    print(mask_digest(strategy(0.6, seed=3)))
"""


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_backends_draw_the_same_bits(tmp_path):
    strategies = (RandomMasking, GridMasking, time_masking)
    expected = [mask_digest(strategy(0.6, seed=3)) for strategy in strategies]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.split() == expected, done.stderr[-2000:]


def test_ties_are_broken_alike_with_and_without_missing_patches():
    """What the digest of grid masking relies on: `hide_highest` of equal scores is one mask."""
    scores = np.zeros((1, 8), "float32")
    assert np.flatnonzero(np.asarray(hide_highest(scores, 3))[0]).tolist() == [5, 6, 7]
