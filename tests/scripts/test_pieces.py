"""The benchmark of compiled pieces, on arrays too small to tell anything."""

import pytest

pytest.importorskip("tensorflow")


@pytest.mark.slow
def test_every_piece_is_timed_in_both_ways(capsys):
    from pieces import main

    main(["--sizes", "2,5,8,2", "--dtypes", "bfloat16", "--rounds", "1"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == 4
    for _, dtype, _, own, piece, faster in rows:
        ratio = float(faster.split(" (")[0])
        assert dtype == "bfloat16" and ratio > 0
        # Times and ratio are printed in hundredths.
        assert abs(float(own) - ratio * float(piece)) <= 0.006 * (1 + ratio + float(piece))
