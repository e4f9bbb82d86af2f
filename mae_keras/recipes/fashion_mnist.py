"""Fashion-MNIST: the MNIST recipe, untouched but for the data.

    mae-keras pretrain --dataset fashion_mnist --out runs/fashion_mnist

Cost: as MNIST.
"""

import dataclasses

from mae_keras.recipes import mnist

RECIPE = dataclasses.replace(mnist.RECIPE, dataset="fashion_mnist")
