"""The script that counts how the package is built, on a package that was made to be counted."""

import importlib
import pathlib

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


def test_what_is_counted_is_what_is_there(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    structure = importlib.import_module("structure")
    package = tmp_path / "mae_keras"
    (package / "runtime").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "runtime" / "cpu_kernels.py").write_text("def f():\n    import tensorflow as tf\n")
    (package / "models.py").write_text(
        "from mae_keras.runtime import cpu_kernels\n"
        "class A: pass\nclass B: pass\nclass C(A, B): pass\nclass D(A, dict): pass\n"
    )
    modules = structure.modules_in(package)
    assert list(modules) == ["mae_keras", "mae_keras.models", "mae_keras.runtime.cpu_kernels"]
    assert structure.classes_with_several_bases(modules) == ["mae_keras.models.C"]
    assert structure.importing(modules, ("tensorflow",)) == ["mae_keras.runtime.cpu_kernels"]
    kernels = ("mae_keras.runtime.cpu_kernels",)
    assert structure.importing(modules, kernels) == ["mae_keras.models"]
