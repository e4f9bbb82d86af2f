"""Saving whole files and loading them back, or saying in words why not."""

import json
import zipfile

import keras
import numpy as np
import pytest

import mae_keras
from mae_keras.layers import BlockMasking
from mae_keras.losses import LogitAdjustedCrossentropy
from mae_keras.models import (
    CrossAttentionDecoder,
    DenseMaskedAutoencoder,
    ImageClassifier,
    MAEDecoder,
    MaskedAutoencoder,
    ViTEncoder,
    load_model,
)
from mae_keras.training import LARS, fine_tuning_optimizer, pretraining_optimizer


def change_config(path, change):
    """Rewrite `config.json` inside a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(parts["config.json"])
    change(document["config"])
    parts["config.json"] = json.dumps(document)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.fixture
def saved(tmp_path, make_tiny):
    path = tmp_path / "model.keras"
    make_tiny().save(path)
    return path


def test_the_version_is_in_the_file(saved):
    with zipfile.ZipFile(saved) as archive:
        config = json.loads(archive.read("config.json"))["config"]
    assert config["mae_keras_version"] == mae_keras.__version__


@pytest.mark.slow
def test_a_file_of_another_version_that_fits_is_loaded(saved, images):
    expected = load_model(saved).encode(images)
    change_config(saved, lambda config: config.update(mae_keras_version="0.0.9"))
    np.testing.assert_array_equal(load_model(saved).encode(images), expected)


def test_a_file_of_another_version_that_does_not_fit_names_both(saved):
    change_config(saved, lambda config: config.update(mae_keras_version="9.9", telepathy=True))
    with pytest.raises(ValueError, match=rf"mae_keras 9\.9 .*mae_keras {mae_keras.__version__}"):
        load_model(saved)


def test_a_part_of_another_version_that_does_not_fit_names_both(saved):
    def change(config):
        config["mae_keras_version"] = "9.9"
        config["encoder"]["config"]["telepathy"] = True

    change_config(saved, change)
    with pytest.raises(ValueError, match=rf"mae_keras 9\.9 .*mae_keras {mae_keras.__version__}"):
        load_model(saved)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.5, 0.99])
def test_a_truncated_file_is_called_truncated(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match="no whole `.keras` file; it is truncated"):
        load_model(saved)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("not a model")
    with pytest.raises(ValueError, match="no whole `.keras` file"):
        load_model(path)


def test_an_archive_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="no whole `.keras` file"):
        load_model(path)


def test_a_flipped_byte_is_found(saved):
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        weights = archive.getinfo("model.weights.h5")
    content[weights.header_offset + weights.compress_size // 2] ^= 0xFF
    saved.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="damaged|no whole"):
        load_model(saved)


def test_a_bomb_is_refused_before_anything_of_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("mae_keras.files._ALWAYS_ALLOWED", 2**16)
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", " " * 2**20)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(ValueError, match="model.keras' takes .* unfolds to 1.0 MB"):
        load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("document", [[], "text", {"config": None}, {"config": 3}])
def test_an_archive_with_a_strange_config_is_refused_in_words(tmp_path, document):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(document))
    with pytest.raises(ValueError, match="model.keras"):
        load_model(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such file: .*nowhere.keras"):
        load_model(tmp_path / "nowhere.keras")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="must be a `.keras` file"):
        load_model(tmp_path)


def test_code_inside_a_file_is_not_run(tmp_path):
    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    model.save(path)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(path)


def test_any_keras_model_can_be_loaded(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]).save(path)
    assert load_model(path).count_params() == 9


@pytest.mark.slow
def test_weights_of_another_size_are_an_error_in_words(saved):
    change_config(saved, lambda config: config["encoder"]["config"].update(hidden_dim=32))
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(saved)


@pytest.mark.slow
def test_loading_without_compiling_leaves_the_optimizer_behind(tiny, tmp_path):
    tiny.save(tmp_path / "model.keras")
    assert not load_model(tmp_path / "model.keras", compile=False).compiled
    assert load_model(tmp_path / "model.keras").compiled


def encoder(**options):
    return ViTEncoder((8, 8, 1), 2, 16, 1, 2, 32, **options)


def autoencoder(optimizer=None, decoder=MAEDecoder, masking=0.75, **options):
    model = MaskedAutoencoder(encoder(**options), decoder(16, 1, 2, 32), masking)
    return compiled(model, optimizer) if optimizer else model


def compiled(model, optimizer, **options):
    model.compile(optimizer, **options, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def classifier():
    loss = LogitAdjustedCrossentropy([1, 2, 3])
    metrics = ["accuracy", keras.metrics.TopKCategoricalAccuracy(2)]
    optimizer = fine_tuning_optimizer(1e-3, 32, 10, num_layers=1)
    return compiled(ImageClassifier(encoder(), 3), optimizer, loss=loss, metrics=metrics)


def functional():
    """Of many of Keras's layers and operations, called on the encoder's tokens."""
    images = keras.Input((8, 8, 1))
    tokens = encoder()(keras.layers.RandomFlip(seed=1)(images))
    features = keras.layers.GlobalAveragePooling1D()(tokens)
    features = keras.layers.BatchNormalization()(features)
    features = keras.layers.Dense(
        4,
        activation=keras.activations.gelu,
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(1e-3),
        kernel_constraint=keras.constraints.MaxNorm(2),
    )(features)
    mean = keras.ops.mean(tokens[:, 1:], axis=1)
    both = keras.ops.relu(keras.layers.Concatenate()([features, mean])) + 1.0
    outputs = {"labels": keras.layers.Dense(3, "softmax", name="labels")(both), "all": features}
    losses = {"labels": "sparse_categorical_crossentropy", "all": keras.losses.Huber()}
    metrics = {"labels": ["accuracy"], "all": [keras.metrics.mean_squared_error]}
    return compiled(keras.Model(images, outputs), "adam", loss=losses, metrics=metrics)


def sequential():
    normalization = keras.layers.Normalization()
    normalization.adapt(np.arange(8.0, dtype="float32").reshape(8, 1))
    layers = [
        *(keras.Input((8, 8, 1)), normalization, encoder(), keras.layers.Flatten()),
        *(keras.layers.Dropout(0.1), keras.layers.LayerNormalization(), keras.layers.Dense(2)),
    ]
    return compiled(keras.Sequential(layers), "sgd", loss="mse")


def around_an_autoencoder():
    images = keras.Input((8, 8, 1))
    return keras.Model(images, autoencoder()(images))


def called_twice():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    inputs = keras.Input((4,))
    return keras.Model(inputs, inner(inner(inputs)))


def scaled_with_averages():
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 100, warmup_steps=10)
    inner = keras.optimizers.AdamW(schedule, use_ema=True, clipnorm=1.0)
    return autoencoder(keras.optimizers.LossScaleOptimizer(inner), dtype="mixed_float16")


LEGITIMATE = {
    "encoder": encoder,
    "learned positions, bfloat16": lambda: autoencoder(
        position_embedding="learned", dtype="mixed_bfloat16"
    ),
    "cross-attention": lambda: autoencoder(decoder=CrossAttentionDecoder),
    "blocks hidden": lambda: autoencoder(masking=BlockMasking(0.5)),
    "dense": lambda: DenseMaskedAutoencoder((8, 8, 1)),
    "our optimizer": lambda: autoencoder(pretraining_optimizer(1e-3, 16, 4)),
    "LARS": lambda: autoencoder(LARS(0.1)),
    "loss scale": scaled_with_averages,
    "classifier": classifier,
    "functional": functional,
    "sequential": sequential,
    "called twice": called_twice,
    "around an autoencoder": around_an_autoencoder,
}


@pytest.mark.slow
@pytest.mark.parametrize("make", LEGITIMATE.values(), ids=LEGITIMATE)
def test_models_of_ours_and_around_ours_are_loaded(make, tmp_path):
    model = make()
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert len(loaded.weights) == len(model.weights) > 0
    for weight, expected in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    optimizer = getattr(model, "optimizer", None)
    assert type(loaded.optimizer) is type(optimizer) if optimizer else True
    for variable, expected in zip(
        *(loaded.optimizer.variables, optimizer.variables) if optimizer else ((), ()), strict=True
    ):
        np.testing.assert_array_equal(variable, expected)


@keras.saving.register_keras_serializable("tests")
class Registered(keras.layers.Dense):
    pass


class Unregistered(keras.layers.Dense):
    pass


@pytest.mark.parametrize("layer", [Registered, Unregistered, keras.layers.SimpleRNN])
def test_other_classes_are_loaded_only_when_they_are_passed(layer, tmp_path):
    model = keras.Sequential([keras.Input((3, 2)), layer(4)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=f"{layer.__name__}.* pass the .* in `custom_objects`"):
        load_model(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras", custom_objects={layer.__name__: layer})
    assert type(loaded.layers[0]) is layer
    inputs = np.ones((1, 3, 2), "float32")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


@pytest.mark.parametrize(
    ("layer", "form"),
    [
        (Registered, r"custom_objects=\{'tests>Registered': Registered\}"),
        (Unregistered, r"custom_objects=\{'Unregistered': Unregistered\}"),
    ],
)
def test_the_refusal_has_what_to_write(layer, form, tmp_path, monkeypatch):
    """Also in a process in which the class has been written, but registered by nobody."""
    keras.Sequential([keras.Input((2,)), layer(4)]).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=form):
        load_model(tmp_path / "model.keras")
    monkeypatch.delitem(keras.saving.get_custom_objects(), "tests>Registered")
    with pytest.raises(ValueError, match=form):
        load_model(tmp_path / "model.keras")
    written = {"tests>Registered": Registered, "Unregistered": Unregistered}
    loaded = load_model(tmp_path / "model.keras", custom_objects=written)
    assert type(loaded.layers[0]) is layer


@keras.saving.register_keras_serializable("tests")
def registered_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred))


def test_a_function_of_ones_own_is_loaded_only_when_it_is_passed(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    compiled(model, "sgd", loss=registered_loss).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="registered_loss"):
        load_model(tmp_path / "model.keras")
    passed = {"registered_loss": registered_loss}
    assert load_model(tmp_path / "model.keras", custom_objects=passed).loss is registered_loss
    assert load_model(tmp_path / "model.keras", compile=False).loss is None


def test_a_class_of_another_module_of_the_same_name_is_not_the_one_passed(tmp_path):
    keras.Sequential([keras.Input((3, 2)), keras.layers.SimpleRNN(4)]).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="SimpleRNN"):
        load_model(tmp_path / "m.keras", custom_objects={"SimpleRNN": Unregistered})


@pytest.mark.slow
def test_the_module_that_a_file_names_for_our_classes_does_not_matter(saved, images):
    """Earlier versions had other modules; the registered name finds the class."""
    expected = load_model(saved).encode(images)
    change_config(saved, lambda config: config["encoder"].update(module="mae_keras.old.place"))
    np.testing.assert_array_equal(load_model(saved).encode(images), expected)


def test_loading_leaves_the_variables_of_keras_as_they_were(saved):
    load_model(saved)
    assert "__init__" not in vars(keras.Variable)
    assert "assign" not in vars(keras.Variable)
    assert keras.layers.Normalization.build.__qualname__ == "Normalization.build"
    assert keras.Variable(np.zeros((3, 2)), shape=None).shape == (3, 2)


def test_weights_are_not_drawn_before_they_are_read(tmp_path, monkeypatch):
    """Orthogonal ones of this size would take minutes."""
    layer = keras.layers.Dense(200, kernel_initializer="orthogonal", bias_initializer="ones")
    model = keras.Sequential([keras.Input((200,)), layer])
    model.save(tmp_path / "model.keras")
    monkeypatch.setattr(keras.initializers.Orthogonal, "__call__", None)
    loaded = load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0].kernel_initializer) is keras.initializers.Orthogonal
    for weight, expected in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_weights_that_a_file_does_not_hold_are_drawn(tmp_path):
    """A pair of zeros in LoRA would never learn."""
    model = keras.Sequential([keras.Input((200,)), keras.layers.Dense(200, lora_rank=100)])
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras").layers[0]
    expected = keras.saving.load_model(tmp_path / "model.keras").layers[0]
    assert bool(np.any(loaded.lora_kernel_a)) is bool(np.any(expected.lora_kernel_a))
    np.testing.assert_array_equal(loaded.kernel, model.layers[0].kernel)


class Projection(keras.layers.Layer):
    """Has a weight that it does not save."""

    def build(self, input_shape):
        self.projection = self.add_weight((200, 200), "orthogonal", trainable=False)

    def call(self, inputs):
        return inputs @ self.projection

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


def test_weights_that_a_layer_does_not_save_begin_as_it_says(tmp_path):
    keras.Sequential([keras.Input((200,)), Projection()]).save(tmp_path / "model.keras")
    passed = {"Projection": Projection}
    projection = np.asarray(
        load_model(tmp_path / "model.keras", custom_objects=passed).layers[0].projection
    )
    np.testing.assert_allclose(projection @ projection.T, np.eye(200), atol=1e-4)


def half_then_fail(self, filepath, *_, **__):
    with open(filepath, "w") as file:
        file.write("half")
    raise OSError("disk full")


@pytest.mark.slow
def test_a_save_that_fails_midway_leaves_the_previous_file_whole(tiny, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    tiny.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(keras.Model, "save", half_then_fail)
    with pytest.raises(OSError, match="disk full"):
        tiny.save(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.slow
def test_a_first_save_that_fails_leaves_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.Model, "save", half_then_fail)
    with pytest.raises(OSError, match="disk full"):
        tiny.save(tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_callback_that_fails_leaves_the_previous_file_whole(
    tiny, tmp_path, monkeypatch
):
    path = tmp_path / "model.keras"
    tiny.save(path)
    before = path.read_bytes()
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    checkpoint.set_model(tiny)
    monkeypatch.setattr(keras.Model, "save", half_then_fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.on_epoch_end(0, {})
    assert path.read_bytes() == before


@pytest.mark.slow
def test_keras_saves_the_model_too(tiny, tmp_path, images):
    keras.saving.save_model(tiny, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode(images), tiny.encode(images))


def test_an_existing_file_is_kept_when_asked(tiny, tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("mine")
    with pytest.raises(ValueError, match="`filepath` exists and `overwrite` is False"):
        tiny.save(path, overwrite=False)
    assert path.read_text() == "mine"


@pytest.mark.slow
def test_weights_alone_are_saved_and_loaded(tiny, make_tiny, tmp_path, images):
    tiny.save_weights(tmp_path / "model.weights.h5")
    other = make_tiny(weights_seed=9)
    other.load_weights(tmp_path / "model.weights.h5")
    assert isinstance(other, MaskedAutoencoder)
    np.testing.assert_array_equal(other.encode(images), tiny.encode(images))


@pytest.mark.slow
def test_what_training_saved_is_loaded_by_a_process_that_knows_models_alone(
    make_tiny, images, tmp_path, run_python
):
    """The optimizer's class lives in a room that models may not import."""
    from mae_keras.training import pretraining_optimizer

    model = make_tiny()
    model.compile(pretraining_optimizer(1e-3, 16, 4), run_eagerly=True)
    model.fit(images, verbose=0)
    model.save(tmp_path / "model.keras")
    (tmp_path / "load.py").write_text(
        "import sys\n"
        "from mae_keras.models import load_model\n"
        "print(type(load_model(sys.argv[1]).optimizer).__name__)\n"
    )
    printed = run_python(tmp_path / "load.py", tmp_path / "model.keras")
    assert printed.strip().endswith("MaskedAdamW")


def test_modules_of_others_are_not_imported(saved, tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    change_config(saved, lambda config: config.update(extra={"module": "hostile"}))
    with pytest.raises(ValueError, match="extra"):
        load_model(saved)
