"""The made-up pictures, and the script on a few of them."""

import os

import pytest


def test_a_linked_folder_holds_many_names_and_few_files(tmp_path):
    from contenders.picture_sources import DISTINCT, linked_folder

    linked_folder(str(tmp_path), (4, 4, 3), 1100)
    paths = sorted(tmp_path.rglob("*.png"))
    assert len(paths) == 1100
    assert len({os.stat(path).st_ino for path in paths}) == DISTINCT


def test_a_stream_has_the_pictures_of_its_length():
    from contenders.picture_sources import picture_stream

    split = picture_stream(100, (16, 16, 3))
    images, labels = split.arrays(limit=70)
    assert (len(split), images.shape, labels[13]) == (100, (70, 16, 16, 3), 3)
    assert (images[0] == images[64]).all() and not (images[0] == images[1]).all()


@pytest.mark.slow
@pytest.mark.long
def test_the_script_measures_a_few_pictures(capsys):
    from input_pipeline import main

    rates = "--configs nano8 --rounds 1 --seconds 0.05 --files 100"
    memory = "--memory-kinds stream --memory-images 300 --memory-steps 25"
    told = main([*rates.split(), *memory.split()])
    (rate,) = (one for one in told["rates"] if one["source"] == "PNG folder")
    assert min(rate["from_disk"], rate["in_memory"], rate["core_seconds_per_image"]) > 0
    (memory,) = told["memory"]
    assert memory["images"] == 300 and memory["end"] > 50
    assert "| nano8 | PNG folder |" in capsys.readouterr().out
