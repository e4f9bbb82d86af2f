"""Segmenters of pictures with several digits, from pretrained weights and from scratch.

    scripts/benchmarks/digit_canvas.py --labeled 10 50 250 --seeds 0 1 2

Pictures of 56 x 56 pixels hold three digits of MNIST at random places; every pixel of a digit has
its class, all others are background. Digits of the test pictures are of MNIST's test split. The
weights `mnist`, which ship with the package, saw MNIST's training digits one by one, without
labels. For each seed and number of labeled pictures: the head `pyramid` trained with the pretrained
encoder, with a fresh one, and the head `linear` on both, frozen. Prints the mean IoU of the 11
classes over 500 test pictures, in percent, and seconds of training.
"""

import argparse

import numpy as np

from mae_keras import data
from mae_keras.data import SegmentationSplit
from mae_keras.evaluation import score_segmenter
from mae_keras.evaluation.segmenter_training import train_segmenter
from mae_keras.models import MaskedAutoencoder, ViTEncoder

SIDE, DIGITS, TESTED = 56, 3, 500
WAYS = {
    "pyramid, pretrained": {},
    "pyramid, from scratch": {"from_scratch": True},
    "linear, pretrained, frozen": {"head": "linear", "train_blocks": 0},
    "linear, untrained, frozen": {"head": "linear", "train_blocks": 0, "from_scratch": True},
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labeled", type=int, nargs="*", default=[10, 50, 250])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--tested", type=int, default=TESTED)
    arguments = parser.parse_args()
    mnist = data.load("mnist")
    test = pictures(*mnist.test.arrays(), arguments.tested, seed=10**6)
    encoder = larger(MaskedAutoencoder.from_pretrained("mnist").encoder)
    for seed in arguments.seeds:
        for count in arguments.labeled:
            train = pictures(*mnist.train.arrays(), count, seed)
            for name, settings in WAYS.items():
                done = train_segmenter(
                    encoder, train, 11, steps=arguments.steps, seed=seed, **settings
                )
                score = 100 * score_segmenter(done.model, test)[0].mean_iou
                shown = f"mean IoU {score:.1f}  {done.train_seconds:.0f} s"
                print(f"seed {seed}, {count} pictures, {name:28} {shown}", flush=True)


def larger(encoder: ViTEncoder) -> ViTEncoder:
    """The same encoder of pictures of our size; positions are computed anew."""
    config = encoder.get_config()
    made = ViTEncoder.from_config({**config, "image_shape": (SIDE, SIDE, 1)})
    made.build((None, SIDE, SIDE, 1))
    made.set_weights(encoder.get_weights())
    return made


def pictures(images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> SegmentationSplit:
    """Pictures with digits at random places, later ones over earlier ones."""
    rng = np.random.default_rng(seed)
    canvases = np.zeros((count, SIDE, SIDE), "uint8")
    masks = np.zeros((count, SIDE, SIDE), "int32")
    side = images.shape[1]
    for canvas, mask in zip(canvases, masks, strict=True):
        for number in rng.integers(0, len(images), DIGITS):
            top, left = rng.integers(0, SIDE - side + 1, 2)
            place = np.s_[top : top + side, left : left + side]
            digit = images[number, ..., 0]
            canvas[place] = np.maximum(canvas[place], digit)
            mask[place][digit > 127] = labels[number] + 1
    return SegmentationSplit(canvases[..., None], masks)


if __name__ == "__main__":
    main()
