"""What a resumed run says of how it is computed."""

import types

from mae_keras.runs.resuming import ComputedAs


def computed(xla, num_shards):
    return ComputedAs(types.SimpleNamespace(xla=xla, num_shards=num_shards))


def test_it_says_what_has_changed(capsys):
    computed("all", 1).set_state(computed("pieces", 2).get_state())
    assert capsys.readouterr().out == (
        "Until here XLA compiled pieces, in batch shards: 2; "
        "from here XLA compiled all, in batch shards: 1: "
        "the same run within rounding, not to the bit\n"
    )


def test_it_is_quiet_where_nothing_has_changed(capsys):
    computed("pieces", 2).set_state(computed("pieces", 2).get_state())
    assert capsys.readouterr().out == ""
