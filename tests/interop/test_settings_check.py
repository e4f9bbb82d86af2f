import pytest

from mae_keras.interop.torch_mapping import check_settings
from mae_keras.interop.torch_reading import Checkpoint


def check(model, settings=(), **config):
    return check_settings(model, Checkpoint("a", {}, dict(settings), config))


def test_nothing_said_is_nothing_wrong(tiny):
    assert check(tiny) == []


@pytest.mark.parametrize(
    "entry, argument",
    [
        ("num_attention_heads", "`num_heads`"),
        ("decoder_num_attention_heads", "`decoder_num_heads`"),
    ],
)
def test_another_number_of_heads_is_refused(entry, argument, tiny):
    with pytest.raises(ValueError, match=argument):
        check(tiny, **{entry: 4})
    assert check(tiny, **{entry: 2}) == []


def test_another_epsilon_is_told(tiny):
    assert "1e-12" in check(tiny, layer_norm_eps=1e-12)[0]


def test_other_targets_are_told(tiny):
    assert "target='pixels'" in check(tiny, {"norm_pix_loss": True})[0]
