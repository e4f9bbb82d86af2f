"""Keras finds the package's classes in files, in either import order, and nothing loads early."""

import ast
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import mae_keras
from mae_keras.models import ImageClassifier, ViTEncoder
from mae_keras.registration import REGISTERED, load_registered

PACKAGE = pathlib.Path(mae_keras.__file__).parent


def run(script, *arguments, **environment):
    """Run lines in a fresh process; its output, or its errors."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def test_the_table_is_what_the_modules_register():
    """Read from the source: every class and function under the decorator, with its module."""
    registered = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for decorator in getattr(node, "decorator_list", []):
                if "register_keras_serializable" in ast.unparse(decorator):
                    module = path.relative_to(PACKAGE).with_suffix("")
                    registered[node.name] = ".".join(module.parts)
    assert registered == REGISTERED
    for name in registered:
        assert load_registered(name).__name__ == name
        assert keras.saving.get_registered_object(f"mae_keras>{name}") is load_registered(name)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A functional model around the encoder and a classifier, compiled with our optimizer."""
    from mae_keras.training import fine_tuning_optimizer

    folder = tmp_path_factory.mktemp("files")
    encoder = ViTEncoder((8, 8, 1), 2, 16, 1, 2, 32)
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Dense(3, activation="softmax")(encoder(inputs)[:, 0])
    keras.Model(inputs, outputs).save(folder / "functional.keras")
    classifier = ImageClassifier(ViTEncoder((8, 8, 1), 2, 16, 1, 2, 32), 3)
    classifier.compile(fine_tuning_optimizer(1e-3, 32, 10, num_layers=1), jit_compile=False)
    classifier.save(folder / "classifier.keras")
    images = np.arange(128, dtype="float32").reshape(2, 8, 8, 1)
    for name in ("functional", "classifier"):
        model = keras.saving.load_model(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", keras.ops.convert_to_numpy(model(images)))
    return folder


def long(imports):
    return pytest.param(imports, marks=pytest.mark.long)


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import keras, mae_keras",
        "import mae_keras, keras",
        long("import mae_keras\nfrom keras import saving\nimport keras"),
        long("from mae_keras.layers import PatchExtraction\nimport keras"),
        long(
            "from mae_keras.models import MAEDecoder\n"
            "import keras, importlib\nimportlib.reload(keras)"
        ),
    ],
)
def test_a_fresh_process_loads_with_keras_alone(files, imports, tmp_path):
    script = f"""{imports}
import sys, numpy as np
images = np.arange(128, dtype="float32").reshape(2, 8, 8, 1)
for name in ("functional", "classifier"):
    path = sys.argv[1] + "/" + name
    model = keras.saving.load_model(path + ".keras")
    np.testing.assert_allclose(model(images), np.load(path + ".npy"), rtol=1e-5, atol=1e-6)
    model.save(sys.argv[2])
    keras.saving.load_model(sys.argv[2])
"""
    done = run(script, files, tmp_path / "again.keras")
    assert done.returncode == 0, done.stderr


FAKE = """
import sys, types
class Saving:
    known = {}
    get_custom_objects = classmethod(lambda cls: cls.known)
saving = Saving
"""


@pytest.fixture
def fake_keras(tmp_path):
    """A package named keras that takes no time to import."""
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").write_text(FAKE)
    return {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PACKAGE.parent}"}


@pytest.mark.parametrize("imports", ["import keras, mae_keras", "import mae_keras, keras"])
def test_the_registry_is_filled_and_the_loader_looks_as_before(fake_keras, imports):
    script = f"""{imports}
import sys
assert "mae_keras>ViTEncoder" in keras.saving.known
assert type(keras.__loader__).__name__ == type(keras.__spec__.loader).__name__ == "SourceFileLoader"
assert "exec_module" not in vars(keras.__loader__) or keras.__loader__.exec_module.__self__
assert not [name for name in sys.modules if name.startswith("mae_keras.models")]
"""
    done = run(script, **fake_keras)
    assert done.returncode == 0, done.stderr


def test_an_import_of_keras_that_fails_can_be_tried_again(fake_keras, tmp_path):
    broken = tmp_path / "keras" / "__init__.py"
    broken.write_text("raise ImportError('no backend')")
    script = f"""
import mae_keras, pathlib
try:
    import keras
except ImportError as error:
    assert str(error) == "no backend"
else:
    raise SystemExit("imported")
pathlib.Path({str(broken)!r}).write_text({FAKE!r} + "# longer, for the cache of byte code")
import keras
assert "mae_keras>ViTEncoder" in keras.saving.known
"""
    done = run(script, **fake_keras, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0, done.stderr


def test_threads_that_import_at_once_all_find_the_registry_filled(fake_keras):
    script = """
import mae_keras, threading
found = []
def load():
    import keras
    found.append(len(keras.saving.known))
threads = [threading.Thread(target=load) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
from mae_keras.registration import REGISTERED
assert found == [len(REGISTERED)] * 8, found
"""
    done = run(script, **fake_keras)
    assert done.returncode == 0, done.stderr


def test_a_machine_without_keras_says_so_as_before(tmp_path):
    script = """
import importlib.util, mae_keras, sys
sys.path[:] = [place for place in sys.path if "site-packages" not in place]
assert importlib.util.find_spec("keras") is None
try:
    import keras
except ModuleNotFoundError as error:
    assert error.name == "keras"
"""
    done = run(script)
    assert done.returncode == 0, done.stderr
