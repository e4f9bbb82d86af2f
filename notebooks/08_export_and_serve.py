# %% [markdown]
# # Export and serve
#
# **Question.** A trained model has to run where this package is not installed, and published
# weights have to come in. How is each done, and is what comes out the same?
#
# **Run time.** About a minute on two CPU cores, most of it exporting and checking, which happens on
# the CPU. No GPU was timed.
#
# **Data.** 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; nothing is
# downloaded. `DATASET = "mnist"` takes MNIST instead. ONNX, LiteRT and PyTorch's format are
# extras; a step whose extra is missing says so and is left out.

# %%
import importlib.util
import pathlib
import subprocess
import sys

extras = "datasets,onnx,litert,torch-weights"
if importlib.util.find_spec("mae_keras") is None:  # not published yet: install this clone
    if not pathlib.Path("../pyproject.toml").exists():
        sys.exit("mae_keras is not published yet: open the notebook where it lies in a clone")
    command = [sys.executable, "-m", "pip", "install", "--quiet", f"..[{extras}]"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stderr}To install it by hand, in the clone: pip install '.[{extras}]'")

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "digits"  # or "mnist": 28 x 28 pixels, needs the extra `datasets`
CHECKPOINT = None  # or a published file, as "mae_pretrain_vit_base.pth", for step 7
SMALL = False  # True: seconds instead of minutes; fewer exports, an untrained classifier

# %%
import contextlib
import logging
import os
import pickle
import tempfile
import time
import zipfile

import keras
import matplotlib.pyplot as plt
import numpy as np

from mae_keras import data, evaluation, interop
from mae_keras.models import ImageClassifier, MaskedAutoencoder, load_model
from mae_keras.training import fine_tuning_optimizer, pretraining_optimizer

keras.utils.set_random_seed(0)
try:
    dataset = data.load(DATASET)
except (ImportError, ValueError) as error:  # the message says what to do
    print(f"{error} Going on with digits.")
    DATASET, dataset = "digits", data.load("digits")


def has_extra(extra, *modules):
    """Whether an extra is installed; if not, say how to install it."""
    if all(importlib.util.find_spec(module) for module in modules):
        return True
    print(f"This step is left out: pip install '..[{extra}]'")
    return False


@contextlib.contextmanager
def quiet():
    """Keep what TensorFlow's libraries write to the terminal out of the notebook."""
    logger = logging.getLogger("tensorflow")
    level, terminal, nowhere = logger.level, os.dup(2), os.open(os.devnull, os.O_WRONLY)
    logger.setLevel("ERROR")
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
        logger.setLevel(level)


train, train_labels = dataset.train.arrays(limit=5000)
test, test_labels = dataset.test.arrays(limit=500)
patch_size = {"digits": 2}.get(DATASET, 4)
folder = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. Something to export
#
# An autoencoder, and a classifier on a copy of its encoder, both trained too briefly to be good:
# this notebook is about files.

# %%
epochs, batch_size = (1, 256) if SMALL else (10, 64)
shapes = {"image_shape": dataset.image_shape, "patch_size": patch_size, "mask_ratio": 0.5}
layers = {"num_layers": 1 if SMALL else 2, "decoder_num_layers": 1}
pixels = {"mean": float(train.mean() / 255), "std": float(train.std() / 255)}
model = MaskedAutoencoder.from_preset("nano", **shapes, **layers, **pixels, seed=0)
total = epochs * (len(train) // batch_size + 1)
optimizer = pretraining_optimizer(16e-3, batch_size, total_steps=total)
model.compile(optimizer, jit_compile=False, run_eagerly=SMALL)
model.fit(train, batch_size=batch_size, epochs=epochs, verbose=0)

classifier = ImageClassifier.from_pretrained(model, dataset.num_classes, seed=0)
if not SMALL:
    optimizer = fine_tuning_optimizer(16e-3, batch_size, total_steps=total, num_layers=2)
    classifier.compile(optimizer, jit_compile=False)
    classifier.fit(train, train_labels, batch_size=batch_size, epochs=epochs, verbose=0)
live_probabilities = classifier.probabilities(test)
accuracy = np.mean(live_probabilities.argmax(axis=1) == test_labels)
print(f"{model.count_params():,} weights; the classifier is right on {accuracy:.1%} of test images")

assert SMALL or accuracy > 0.6

# %% [markdown]
# ## 2. `.keras`: to go on with
#
# One file with architecture, weights, optimizer and pixel constants. It needs this package to be
# read, and is the only format that training can go on from. Nothing in such a file is run:
# `load_model` keeps Keras's safe mode on.

# %%
model.save(folder / "model.keras")
features = model.encode(test)
again = load_model(folder / "model.keras")

assert np.array_equal(again.encode(test), features)
assert int(again.optimizer.iterations) == int(model.optimizer.iterations)

# %% [markdown]
# ## 3. SavedModel: for TensorFlow without this package
#
# A folder with several functions, called signatures. `export_saved_model` runs what it wrote, in a
# process that can import neither Keras nor mae_keras, and compares with the live model; a
# difference would be an error, and nothing would be kept. What is returned are the differences
# found, relative to the largest output. (Only the small setting of this notebook leaves that out.)

# %%
with quiet():
    differences = interop.export_saved_model(model, folder / "autoencoder", verify=not SMALL)
    more = interop.export_saved_model(classifier, folder / "classifier", verify=not SMALL)
for kind, found in {"autoencoder": differences, "classifier": more}.items():
    for name, difference in found.items():
        print(f"{kind:12} {name:28} {difference:.1e}")
        assert difference < 1e-5
assert SMALL or ("inpaint/pasted" in differences and "classify/logits" in more)

# %% [markdown]
# Loading elsewhere: this is the whole program, and TensorFlow is all it needs. It is started here
# in a process of its own, in which importing this package or Keras is made to fail, and on the CPU,
# since this process may hold a GPU. It prints the signatures and what each takes.

# %%
client = """
import sys
sys.modules["mae_keras"] = sys.modules["keras"] = None  # importing either is now an error
import numpy as np
import tensorflow as tf

inputs, outputs = sys.argv[1:]
given = np.load(inputs)
autoencoder = tf.saved_model.load("autoencoder")  # keep it while signatures are used
for name, function in sorted(autoencoder.signatures.items()):
    print(name, *sorted(function.structured_input_signature[1]))
classifier = tf.saved_model.load("classifier")
images = tf.constant(given["images"])
features = autoencoder.signatures["encode"](images=images)
filled = autoencoder.signatures["inpaint"](images=images, missing=tf.constant(given["missing"]))
classes = classifier.signatures["classify"](images=images)
np.savez(outputs, **features, **classes, filled=filled["pasted"])
"""
missing = evaluation.random_boxes(len(test), test.shape[1:], fraction=0.2)
np.savez(folder / "inputs.npz", images=test, missing=missing)


def run(program, *arguments):
    """What a program prints that runs in a process of its own, on the CPU."""
    (folder / "client.py").write_text(program)
    command = [sys.executable, "client.py", *arguments]
    alone = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    finished = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


print(run(client, "inputs.npz", "outputs.npz"))
outputs = np.load(folder / "outputs.npz")
with quiet():
    inpainted = model.inpaint(test, missing)
print(f"features differ by {np.abs(outputs['features'] - features).max():.1e}")

assert np.allclose(outputs["features"], features, atol=1e-4)
assert np.allclose(outputs["probabilities"], live_probabilities, atol=1e-4)
assert np.allclose(outputs["filled"], inpainted, atol=0.05)  # of 255 gray levels
assert np.array_equal(outputs["logits"].argmax(axis=1), live_probabilities.argmax(axis=1))

# %%
figure, grid = plt.subplots(3, 8, figsize=(7.4, 3), layout="constrained")
gray = plt.get_cmap("gray").with_extremes(bad="#a9c1de")
sent = np.where(missing[..., None], np.nan, test)
rows = {"original": test, "sent": sent, "answer": outputs["filled"]}
for places, (name, row) in zip(grid, rows.items(), strict=True):
    places[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for place, image in zip(places, row, strict=False):
        place.imshow(image[..., 0], gray, vmin=0, vmax=255)
        place.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# TensorFlow Serving wants a version number as the last folder. After `export_saved_model(model,
# "models/mae/1")`:
#
# ```sh
# saved_model_cli show --dir models/mae/1 --all  # lists the signatures
# tensorflow_model_server --model_name=mae --model_base_path=$PWD/models/mae
# ```
#
# ## 4. ONNX: for other runtimes
#
# One file holds one signature. The number of images stays free.

# %%
made = {"SavedModel": folder / "autoencoder", ".keras": folder / "model.keras"}
encoders = {"Keras": model.encode}
if has_extra("onnx", "onnx", "onnxruntime", "tf2onnx"):
    import onnxruntime

    path = folder / "encode.onnx"
    made["ONNX"] = path
    with quiet():
        differences = interop.export_onnx(model, path, verify=not SMALL)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    encoders["ONNX Runtime"] = lambda images: session.run(["features"], {"images": images})[0]
    by_onnx = encoders["ONNX Runtime"](test)
    print(f"largest relative difference {max(differences.values(), default=0):.1e}")

    assert SMALL or differences
    assert np.allclose(by_onnx, features, atol=1e-3)

# %% [markdown]
# ## 5. LiteRT: for phones and small machines
#
# A file may hold several signatures. With `quantize=True` the matrices are kept as bytes: the file
# gets smaller and the features a little different, so look at what they are used for.

# %%
if has_extra("litert", "ai_edge_litert"):
    for name, quantize in {"LiteRT": False, "LiteRT, int8": True}.items():
        if SMALL and quantize:
            continue
        path = folder / f"encode{'-int8' * quantize}.tflite"
        with quiet():
            differences = interop.export_litert(
                model, path, signatures=["encode"], quantize=quantize, verify=not SMALL
            )
        made[name] = path
        print(f"{name:14} largest relative difference {max(differences.values(), default=0):.1e}")

# %% [markdown]
# LiteRT's interpreter writes to the terminal when it starts, so it gets a process of its own here.

# %%
client = """
import sys
sys.modules["mae_keras"] = sys.modules["keras"] = sys.modules["tensorflow"] = None
import numpy as np
from ai_edge_litert.interpreter import Interpreter
images = np.load("inputs.npz")["images"]
for path in sys.argv[1:]:
    runner = Interpreter(path).get_signature_runner("encode")
    np.save(path + ".npy", runner(images=images)["features"])
"""
by_litert = {}
for name in [name for name in made if name.startswith("LiteRT")]:
    run(client, made[name].name)
    by_litert[name] = np.load(f"{made[name]}.npy")

assert all(np.allclose(by_litert[name], features, atol=1e-3) for name in {"LiteRT"} & set(made))

# %% [markdown]
# ## What it costs
#
# Sizes, and whether neighbors in the features are still of the same class. The `.keras` file
# also holds the decoder and what the optimizer remembers; the SavedModel the decoder.

# %%


def size(path):
    """Bytes of a file or a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


reference = (model.encode(train), train_labels)
scores = {
    name: evaluation.knn_accuracy(*reference, found, test_labels, k=5).test_accuracy
    for name, found in {"live": features, **by_litert}.items()
}
for name, path in made.items():
    score = f"  k-NN {scores[name]:.1%} (live {scores['live']:.1%})" if name in scores else ""
    print(f"{name:14} {size(path) / 1000:6.0f} kB{score}")

if "LiteRT, int8" in made:
    assert size(made["LiteRT, int8"]) < size(made["LiteRT"])
    assert abs(scores["LiteRT, int8"] - scores["live"]) < 0.03

# %% [markdown]
# One image at a time, median of many calls. `encode` of the models here is made for many images:
# every call goes through Python and Keras. For single images, serve an exported model.

# %%
milliseconds = {}
for name, encode in encoders.items():
    durations = []
    for number in range(5 if SMALL else 30):
        image = test[number : number + 1]
        started = time.perf_counter()
        encode(image)
        durations.append(time.perf_counter() - started)
    milliseconds[name] = 1000 * np.median(durations)
    print(f"{name:14} {milliseconds[name]:6.2f} ms")

assert min(milliseconds.values()) == milliseconds.get("ONNX Runtime", milliseconds["Keras"])

# %% [markdown]
# ## 6. To PyTorch and back
#
# `save_torch_weights` writes the folder that Hugging Face's `ViTMAEForPreTraining.from_pretrained`
# reads; `model_from_torch` builds a model from such a folder, or from a `.pth`, `.bin` or
# `.safetensors` file. PyTorch is not needed for either.

# %%
if has_extra("torch-weights", "safetensors"):
    interop.save_torch_weights(model, folder / "for_pytorch")
    rebuilt, report = interop.model_from_torch(folder / "for_pytorch")
    print(*sorted(path.name for path in (folder / "for_pytorch").iterdir()), sep="\n")
    print(str(report).replace(str(folder), "..."))

    assert report.complete and rebuilt.image_shape == model.image_shape
    assert np.allclose(rebuilt.encode(test), features, atol=1e-4)

# %% [markdown]
# ## 7. Published weights in
#
# For the weights of the paper this is the line; the file is linked from
# github.com/facebookresearch/mae and is downloaded by hand:
#
# ```python
# model, report = interop.model_from_torch("mae_pretrain_vit_base.pth")
# ```
#
# Set `CHECKPOINT` above to run it. That file holds an encoder alone, and the report says so:
# reconstructions will be noise, `encode` is exact.

# %%
if CHECKPOINT is None:
    print("CHECKPOINT is None: no published file was loaded.")
else:
    published, report = interop.model_from_torch(CHECKPOINT)
    print(report)
    blank = np.zeros((2, *published.image_shape), "uint8")
    assert np.isfinite(published.encode(blank)).all()

# %% [markdown]
# A `.pth` file is a pickle, which is a program: `torch.load(weights_only=False)` runs it. The
# reader here does not. This file would print a sentence, and might as well delete files:

# %%


class Mischief:
    """Unpickled by Python, this calls `print`."""

    def __reduce__(self):
        return print, ("Unpickling this ran my code.",)


with zipfile.ZipFile(folder / "mischief.pth", "w") as archive:
    archive.writestr("archive/data.pkl", pickle.dumps({"model": Mischief()}, protocol=2))
    archive.writestr("archive/version", "3\n")

answer = ""
try:
    interop.model_from_torch(folder / "mischief.pth")
except ValueError as error:
    answer = str(error).replace(str(folder), "...")
    print(answer)
assert "refused" in answer

# %% [markdown]
# ## What to take away
#
# - `.keras` to go on with, SavedModel to serve with TensorFlow, ONNX and LiteRT for the rest.
# - An export that returns has been run and compared, unless `verify=False`.
# - All take pixels as stored: normalization is inside.
# - [docs/interop.md](../docs/interop.md): what a format cannot hold, which checkpoints can be read.
