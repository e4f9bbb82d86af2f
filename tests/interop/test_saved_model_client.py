"""The program that runs a SavedModel as a stranger; see also test_saved_model.py."""

import pathlib

import numpy as np
import pytest

from mae_keras.interop import saved_model_client
from mae_keras.interop.export import VerificationError, run_in_clean_process


def test_it_names_nothing_of_keras_or_of_this_package():
    text = pathlib.Path(saved_model_client.__file__).read_text()
    imports = [line.split()[1] for line in text.splitlines() if line.strip().startswith("import")]
    assert sorted(imports) == ["numpy", "os", "sys", "tensorflow"]
    assert "from mae_keras" not in text and "from keras" not in text


@pytest.mark.slow
def test_a_folder_that_is_no_saved_model_is_an_error_with_its_words(tmp_path):
    with pytest.raises(VerificationError, match="SavedModel file does not exist"):
        run_in_clean_process(tmp_path, {"images": np.zeros((1, 2, 2, 1), "uint8")})
