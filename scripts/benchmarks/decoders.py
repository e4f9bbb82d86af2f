"""What a decoder of cross-attention saves, of all hidden patches and of a share of them.

    python scripts/benchmarks/decoders.py [--configs cifar48 ...] [--ratios 1 0.25] [--rounds 7] \
        [--seconds 5] [--dtype float32] [--batch N] [--json decoders.json]

Models with the same encoder train in turn, A B C A B C, on one batch in memory: the usual decoder,
and `CrossAttentionDecoder` with each `decode_ratio`. Printed: median milliseconds per step, how
many times as fast as the usual one (median and range of the ratios round by round), and how many
times fewer FLOPs (`mae_keras.models.training_flops`). What it costs in accuracy: `ablation.py`.
"""

import argparse
import os
import statistics
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from contenders.configurations import sizes_of
from contenders.keras_side import KerasContender, draw_images, make_model
from contenders.turns import command_line, compared, seconds_per_step, write

from mae_keras.models import training_flops
from mae_keras.training import MaskedAdamW, shard_batches_across_cores


def build(sizes: dict[str, Any], dtype: str, ratio: float | None) -> KerasContender:
    """A compiled model whose first steps are taken; without a ratio the usual decoder."""
    keras.utils.set_random_seed(0)
    cross = {} if ratio is None else {"decoder_attention": "cross", "decode_ratio": ratio}
    model = make_model(sizes, dtype, **cross)
    model.compile(MaskedAdamW(1e-4))
    contender = KerasContender(model, draw_images(sizes), {})
    contender.run(3)
    return contender


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All decoders on one configuration, in turn."""
    sizes = sizes_of(name, options.batch)
    ratios = [None, *options.ratios]
    contenders = [build(sizes, options.dtype, ratio) for ratio in ratios]
    taken = seconds_per_step(contenders, options)
    usual = training_flops(contenders[0].model).total
    results = []
    for number, (ratio, contender) in enumerate(zip(ratios, contenders, strict=True)):
        results.append(
            {
                "configuration": name,
                "dtype": options.dtype,
                "decode_ratio": ratio,
                "ms": 1000 * statistics.median(times[number] for times in taken),
                **compared([times[0] / times[number] for times in taken]),
                "by_flops": usual / training_flops(contender.model).total,
            }
        )
    return results


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print a table, and write what was measured."""
    parser = command_line(__doc__.splitlines()[0])
    parser.add_argument("--ratios", nargs="+", type=float, default=[1.0, 0.25])
    options = parser.parse_args(arguments)
    if options.shards:
        shard_batches_across_cores()
    print("| configuration | decoder | ms | times as fast | range | by FLOPs |")
    print("|---|---|---|---|---|---|")
    results: list[dict[str, Any]] = []
    for name in options.configs:
        made = measure(name, options)
        results += made
        for one in made:
            ratio = one["decode_ratio"]
            decoder = "self-attention" if ratio is None else f"cross-attention, {ratio:g} decoded"
            print(
                f"| {name}, {one['dtype']} | {decoder} | {one['ms']:.1f} | {one['faster']:.2f} | "
                f"{one['range'][0]:.2f} to {one['range'][1]:.2f} | {one['by_flops']:.2f} |",
                flush=True,
            )
        write(results, options)
    return results


if __name__ == "__main__":
    main()
