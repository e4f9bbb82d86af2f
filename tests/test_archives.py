"""Archives that unfold to far more than their size."""

import zipfile

import numpy as np
import pytest

from mae_keras import archives
from mae_keras.archives import BombError, refuse_bomb


def packed(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("part", content)
    return path


def test_a_bomb_is_refused_with_its_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED", 2**18)
    with zipfile.ZipFile(packed(tmp_path / "a.pth", bytes(10**6))) as archive:
        with pytest.raises(BombError, match=r"a.pth' takes 0.0 MB and unfolds to 1.0 MB"):
            refuse_bomb(archive)


def test_weights_packed_anew_are_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED", 0)
    weights = np.random.default_rng(0).normal(size=1000).astype("float32")
    with zipfile.ZipFile(packed(tmp_path / "a.pth", weights.tobytes())) as archive:
        refuse_bomb(archive)


def test_a_small_archive_may_unfold_as_it_likes(tmp_path):
    with zipfile.ZipFile(packed(tmp_path / "a.pth", bytes(10**6))) as archive:
        refuse_bomb(archive)
