"""Protocols by name, and their options."""

import pathlib
import re
import subprocess
import sys

import pytest

from mae_keras.runs import PROTOCOLS, EvaluationOptions
from mae_keras.runs import protocols as rules


def test_every_protocol_is_in_the_table_of_the_docs_as_it_declares():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", page, re.M)
    assert rows == [
        (name, protocol.description)
        for name, protocol in PROTOCOLS.items()
        if name not in PROTOCOLS.added
    ]


def test_naming_protocols_imports_nothing_heavy():
    script = (
        "import sys, mae_keras.runs.protocols as p\n"
        "assert len(p.default_protocols()) == 8\n"
        "assert not {'numpy', 'keras', 'tensorflow'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match="must be 'knn', 'linear-probe'.* Received: .*'guess'"):
        rules.check_protocol("guess")


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "max"},
        {"max_train": 0},
        {"num_seeds": 0},
        {"num_blocks": 0},
        {"batch_size": -1},
        {"train_blocks": -1},
        {"fine_tune_epochs": 0},
        {"learning_rate": 0.0},
        {"segment_steps": 0},
        {"segment_head": "unet"},
        {"labeled_images": (0,)},
        {"labeled_images": ()},
    ],
    ids=str,
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be .* Received"):
        EvaluationOptions(**options)
