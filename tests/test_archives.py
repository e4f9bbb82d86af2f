"""Archives that are not what Keras and PyTorch write."""

import zipfile

import numpy as np
import pytest

from mae_keras import files as archives
from mae_keras.files import ArchiveError, BombError, open_archive


def packed(path, content, name="part"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def test_a_bomb_is_refused_with_its_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED", 2**18)
    path = packed(tmp_path / "a.pth", bytes(10**6))
    with pytest.raises(BombError, match=r"a.pth' takes 0.0 MB and unfolds to 1.0 MB"):
        with open_archive(path):
            pass


def test_weights_packed_anew_are_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED", 0)
    weights = np.random.default_rng(0).normal(size=1000).astype("float32")
    with open_archive(packed(tmp_path / "a.pth", weights.tobytes())) as archive:
        assert archive.read("part") == weights.tobytes()


def test_a_small_archive_may_unfold_as_it_likes(tmp_path):
    with open_archive(str(packed(tmp_path / "a.pth", bytes(10**6)))) as archive:
        assert archive.read("part") == bytes(10**6)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a\\x", "C:x"])
def test_a_name_that_leads_out_is_refused(name, tmp_path):
    with pytest.raises(ArchiveError, match="leads out of the archive"):
        with open_archive(packed(tmp_path / "a.pth", b"", name)):
            pass


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(method, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", method) as archive:
        archive.writestr("part", b"content")
    with pytest.raises(ArchiveError, match=f"by method {method}, which is not read"):
        with open_archive(tmp_path / "a.pth"):
            pass
