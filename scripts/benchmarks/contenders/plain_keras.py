"""A masked autoencoder as one writes it from a tutorial: Keras layers and a GradientTape.

In the manner of https://keras.io/examples/vision/masked_image_modeling/: patches by
`tf.image.extract_patches`, random numbers sorted to choose the visible ones, learned positions,
`keras.layers.MultiHeadAttention`, a hand-written `train_step`. Written anew: this decoder puts
tokens back where they belong and predicts patch by patch, as in the paper, so that it does the
work that is measured. TensorFlow only.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import layers


class Block(layers.Layer):
    """Pre-norm transformer block.

    Args:
        width, heads, mlp_width: ints.
    """

    def __init__(self, width: int, heads: int, mlp_width: int):
        super().__init__()
        self.norm_1 = layers.LayerNormalization(epsilon=1e-6)
        self.attention = layers.MultiHeadAttention(heads, key_dim=width // heads)
        self.norm_2 = layers.LayerNormalization(epsilon=1e-6)
        self.dense_1 = layers.Dense(mlp_width, activation="gelu")
        self.dense_2 = layers.Dense(width)

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        normed = self.norm_1(tokens)
        tokens = tokens + self.attention(normed, normed)
        return tokens + self.dense_2(self.dense_1(self.norm_2(tokens)))


class PlainMaskedAutoencoder(keras.Model):
    """Encoder on visible patches, decoder on all, error of the hidden ones.

    Args:
        sizes: from `configurations.sizes_of`.
    """

    def __init__(self, sizes: dict[str, Any]):
        super().__init__()
        height, width, channels = sizes["image_shape"]
        self.patch = sizes["patch"]
        self.num_patches = height // self.patch * (width // self.patch)
        self.num_hidden = int(self.num_patches * sizes["mask_ratio"] + 0.5)
        self.patch_dim = self.patch**2 * channels
        self.width, self.decoder_width = sizes["hidden_dim"], sizes["decoder_hidden_dim"]
        self.projection = layers.Dense(self.width)
        self.positions = layers.Embedding(self.num_patches, self.width)
        self.encoder = self._blocks(sizes, "")
        self.encoder_norm = layers.LayerNormalization(epsilon=1e-6)
        self.embedding = layers.Dense(self.decoder_width)
        self.decoder_positions = layers.Embedding(self.num_patches, self.decoder_width)
        self.decoder = self._blocks(sizes, "decoder_")
        self.decoder_norm = layers.LayerNormalization(epsilon=1e-6)
        self.head = layers.Dense(self.patch_dim)
        self.class_token = self.add_weight(shape=(1, 1, self.width), name="class_token")
        self.mask_token = self.add_weight(shape=(1, 1, self.decoder_width), name="mask_token")
        self.loss_tracker = keras.metrics.Mean(name="loss")

    @staticmethod
    def _blocks(sizes: dict[str, Any], prefix: str) -> list[Block]:
        names = ("hidden_dim", "num_heads", "mlp_dim")
        widths = [sizes[prefix + name] for name in names]
        return [Block(*widths) for _ in range(sizes[prefix + "num_layers"])]

    @property
    def metrics(self) -> list[keras.Metric]:
        """The loss alone."""
        return [self.loss_tracker]

    def patches_of(self, images: tf.Tensor) -> tf.Tensor:
        """Images `(batch, height, width, channels)` to `(batch, num_patches, patch_dim)`."""
        size = (1, self.patch, self.patch, 1)
        patches = tf.image.extract_patches(images, size, size, (1, 1, 1, 1), "VALID")
        return tf.reshape(patches, (-1, self.num_patches, self.patch_dim))

    def call(self, patches: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Predicted patches, all of them, and the indices of the hidden ones."""
        batch = tf.shape(patches)[0]
        order = tf.argsort(tf.random.uniform((batch, self.num_patches)), axis=-1)
        hidden, visible = order[:, : self.num_hidden], order[:, self.num_hidden :]
        tokens = self.projection(tf.gather(patches, visible, axis=1, batch_dims=1))
        tokens = tokens + self.positions(visible)
        tokens = tf.concat([self._repeated(self.class_token, batch, tokens), tokens], axis=1)
        for block in self.encoder:
            tokens = block(tokens)
        tokens = self.embedding(self.encoder_norm(tokens))
        first, tokens = tokens[:, :1], tokens[:, 1:]
        mask_tokens = self._repeated(self.mask_token, batch, tokens)
        mask_tokens = tf.repeat(mask_tokens, self.num_hidden, axis=1)
        shuffled = tf.concat([mask_tokens, tokens], axis=1)
        tokens = tf.gather(shuffled, tf.argsort(order, axis=-1), axis=1, batch_dims=1)
        tokens = tokens + self.decoder_positions(tf.range(self.num_patches))
        tokens = tf.concat([first, tokens], axis=1)
        for block in self.decoder:
            tokens = block(tokens)
        return self.head(self.decoder_norm(tokens[:, 1:])), hidden

    @staticmethod
    def _repeated(token: Any, batch: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        return tf.repeat(tf.cast(token, like.dtype), batch, axis=0)

    def loss_of(self, images: tf.Tensor) -> tf.Tensor:
        """Mean squared error over the hidden patches."""
        patches = self.patches_of(images)
        predicted, hidden = self(patches, training=True)
        wanted = tf.gather(patches, hidden, axis=1, batch_dims=1)
        predicted = tf.gather(predicted, hidden, axis=1, batch_dims=1)
        return tf.reduce_mean(tf.square(tf.cast(predicted, "float32") - wanted))

    def train_step(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = self.loss_of(images)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}
