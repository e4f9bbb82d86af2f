"""The arithmetic of the throughput table, the worker's protocol, and the plain contender."""

import subprocess
import sys

import keras
import numpy as np
import pytest


def told(steps, seconds, matrix, idle=0.0):
    return {"steps": steps, "seconds": seconds, "flops_per_second": matrix, "idle": idle}


def facts(**more):
    return {"parameters": 10, "jit_compile": True, "first_step_seconds": 1.5, **more}


def result(name="cifar48", dtype="float32"):
    """Batches of 10 images, 1000 FLOP per step; ours takes 1 s, 2 s, 1 s, theirs 4 s each.

    Theirs predict the visible patches too: 1200 FLOP per step.
    """
    from throughput import summary

    rounds = [
        {"mae_keras": told(1, 1.0, 1000.0, 0.1), "hf_eager": told(1, 4.0, 2000.0)},
        {"mae_keras": told(2, 4.0, 900.0), "hf_eager": told(1, 4.0, 1600.0)},
        {"mae_keras": told(1, 1.0, 1100.0), "hf_eager": told(2, 8.0, 1250.0)},
    ]
    said = {
        "mae_keras": facts(flops_per_step=1000, reference_flops_per_step=1200),
        "hf_eager": facts(),
    }
    return {"configuration": name, "dtype": dtype, **summary(10, said, rounds)}


def test_rates_ratios_and_shares_are_medians_over_rounds():
    measured = result()
    ours, theirs = measured["contenders"]["mae_keras"], measured["contenders"]["hf_eager"]
    assert ours["images_per_second_by_round"] == [10.0, 5.0, 10.0]
    assert (ours["images_per_second"], theirs["images_per_second"]) == (10.0, 2.5)
    assert (theirs["ratio"], theirs["range"]) == (4.0, [2.0, 4.0])
    assert measured["machine_flops_per_second"] == 1600.0  # the median of the faster framework
    assert ours["flops_per_second"] == 1000.0
    assert (ours["share"], theirs["share"]) == (0.625, 0.1875)
    assert ours["idle"] == 0.1


def test_the_table_has_a_row_for_each_contender_and_says_which_aims_are_met():
    from throughput import table

    lines = table(result()).splitlines()
    assert "| hf_eager | 10 | 2.5 | 4.00 x | 2.00 to 4.00 | 0 | 0.19 | 0.00 | yes | 1.5 |" in lines
    assert "met: at least 2.5 x hf_eager or share 0.85 (4.00 x, 0.62)" in lines
    assert "met: at least share 0.6 of the matrix rate (0.62)" in lines


def test_aims_depend_on_configuration_and_precision():
    from throughput import verdicts

    assert verdicts(result("vitb224"))[-1].startswith("MISSED: at least share 0.8")
    assert verdicts(result(dtype="bfloat16")) == ["met: at least 1.0 x hf_eager (4.00 x, 0.62)"]
    assert verdicts(result("vitl224-gpu", "bfloat16"))[-1].startswith("met: at least share 0.5")


def test_ours_is_measured_first_whatever_is_asked_for():
    from throughput import parse

    assert parse(["--contenders", "hf_eager"]).contenders == ["mae_keras", "hf_eager"]
    assert parse([]).configs == ["cifar48", "mnist28", "cifar32", "vitb224"]
    options = parse(["--gpu"])
    assert (options.configs, options.dtype) == (["vitb224-gpu", "vitl224-gpu"], ["bfloat16"])


def test_every_configuration_has_all_sizes_and_a_batch_can_be_given():
    from contenders.configurations import CONFIGURATIONS, sizes_of

    for name in CONFIGURATIONS:
        sizes = sizes_of(name, batch=3)
        assert sizes["batch"] == 3 and len(sizes) == 13
        assert sizes["decoder_mlp_dim"] >= sizes["decoder_hidden_dim"]


def test_a_worker_reports_what_went_wrong():
    from contenders.process import Process, WorkerFailed
    from throughput import parse

    worker = Process("mae_keras", parse([]))
    try:
        with pytest.raises(WorkerFailed, match="KeyError: 'nobody'"):
            worker.ask(do="build", contender="nobody", sizes={}, dtype="float32")
        assert worker.cpu_seconds() >= 0.0  # it lives and can be asked again
        with pytest.raises(WorkerFailed, match="AttributeError"):
            worker.ask(do="nothing")
    finally:
        worker.close()


def test_a_worker_that_dies_is_noticed():
    from contenders.process import Process, WorkerFailed
    from throughput import parse

    worker = Process("hf_eager", parse(["--torch-python", "/bin/false"]))
    try:
        with pytest.raises(WorkerFailed, match="the worker ended"):
            worker.ask(do="measure", seconds=1.0)
    finally:
        worker.close()


class InProcess:
    """A worker that is no process."""

    def __init__(self):
        from contenders.worker import Session

        self.session = Session()

    def ask(self, **request):
        return self.session.answer(request)

    def cpu_seconds(self):
        return 0.0

    def close(self):
        pass


@pytest.mark.slow
@pytest.mark.long
def test_two_contenders_of_the_smallest_size_are_measured():
    from throughput import measure, parse, table

    arguments = "--contenders plain_keras --rounds 2 --seconds 0.05 --matrix 64".split()
    measured = measure("nano8", "float32", parse(arguments), start=lambda _: InProcess())
    ours, plain = measured["contenders"]["mae_keras"], measured["contenders"]["plain_keras"]
    # It learns its positions: 16 patches, 64 features, in encoder and decoder.
    assert plain["parameters"] == ours["parameters"] + 2 * 16 * 64
    assert len(plain["images_per_second_by_round"]) == 2
    assert min(measured["machine_flops_per_second"], plain["ratio"], ours["share"]) > 0
    assert "| plain_keras | 209,036 |" in table(measured)


def plain_model():
    from contenders.configurations import sizes_of
    from contenders.plain_keras import PlainMaskedAutoencoder

    sizes = {**sizes_of("nano8"), "num_layers": 1, "decoder_num_layers": 1}
    return PlainMaskedAutoencoder(sizes)


def test_the_plain_contender_puts_tokens_back_where_they_belong():
    model = plain_model()
    patches = model.patches_of(np.random.default_rng(0).random((2, 8, 8, 3), "float32"))
    seen = []
    model.decoder_positions.call = lambda inputs: np.zeros((16, 64), "float32")
    model.decoder = [lambda tokens: seen.append(keras.ops.convert_to_numpy(tokens)) or tokens]
    _, hidden = model(patches)
    hidden = keras.ops.convert_to_numpy(hidden)
    mask_token = keras.ops.convert_to_numpy(model.mask_token)[0]
    is_mask = (seen[0][:, 1:] == mask_token).all(axis=-1)
    assert is_mask.sum(axis=1).tolist() == [12, 12]
    for row, places in zip(is_mask, hidden, strict=True):
        assert set(np.flatnonzero(row)) == set(places.tolist())


@pytest.mark.slow
@pytest.mark.long
def test_the_plain_contender_learns():
    model = plain_model()
    model.compile(keras.optimizers.AdamW(3e-3), jit_compile=False)
    images = np.tile(np.linspace(0, 1, 8, dtype="float32")[:, None, None], (32, 1, 8, 3))
    losses = model.fit(images, epochs=20, verbose=0, batch_size=16).history["loss"]
    assert losses[-1] < 0.2 * losses[0]


def test_plain_python_has_no_torch_side():
    """The script says so instead of failing; this environment has no PyTorch."""
    from contenders.process import has_torch

    found = subprocess.run([sys.executable, "-c", "import torch, transformers"]).returncode == 0
    assert has_torch(sys.executable) is found
