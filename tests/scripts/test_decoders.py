"""What a decoder of cross-attention saves, on the smallest size."""

import pytest


@pytest.mark.slow
@pytest.mark.long
def test_the_script_measures_the_smallest_size(capsys, tmp_path):
    from decoders import main

    asked = ["--configs", "nano8", "--rounds", "1", "--seconds", "0.05"]
    usual, whole, quarter = main([*asked, "--json", str(tmp_path / "told.json")])
    assert usual["faster"] == usual["by_flops"] == 1.0
    assert whole["faster"] == pytest.approx(usual["ms"] / whole["ms"])
    assert 1.0 < whole["by_flops"] < quarter["by_flops"]
    assert "cross-attention, 0.25 decoded" in capsys.readouterr().out
    assert (tmp_path / "told.json").exists()
