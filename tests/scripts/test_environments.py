"""Training under several environments, in turn."""

import argparse

import pytest


def test_assignments_are_read_from_one_argument():
    from environments import assignments

    assert assignments("A=1 B='x=y z'") == {"A": "1", "B": "x=y z"}
    for wrong in ("", "A", "=1"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected NAME=VALUE"):
            assignments(wrong)


def test_a_row_compares_round_by_round():
    from environments import row

    def took(seconds, faults):
        used = {"user_seconds": 3.0, "system_seconds": 0.5, "page_faults": faults}
        return {"steps": 2, "seconds": seconds, **used}

    rounds = [[took(2.0, 0), took(1.0, 4000)], [took(4.0, 0), took(1.0, 2000)]]
    assert row("none", 0, rounds).startswith("| none | 1500.0 | 1.00 (1.00 to 1.00) | 1500 | 250 |")
    assert row("A=1", 1, rounds) == "| A=1 | 500.0 | 3.00 (2.00 to 4.00) | 1500 | 250 | 1,500 |"


@pytest.mark.slow
@pytest.mark.long
def test_the_script_measures_the_smallest_size(capsys):
    from environments import main

    asked = ["--config", "nano8", "--rounds", "2", "--seconds", "0.05"]
    without, with_one = main(["TF_NUM_INTRAOP_THREADS=1", *asked])
    assert without.startswith("| none |")
    assert with_one.startswith("| TF_NUM_INTRAOP_THREADS=1 |")
    assert "nano8, float32" in capsys.readouterr().out
