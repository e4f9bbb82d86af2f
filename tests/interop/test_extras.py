"""Optional libraries."""

import json

import pytest

from mae_keras.interop.export import import_extra


def test_what_is_installed_is_imported():
    assert import_extra("json", "any", "Writing") is json


def test_what_is_not_installed_is_named_with_the_extra_that_has_it():
    with pytest.raises(ImportError, match=r"Flying needs `antigravity2`: pip install .*\[wings\]'"):
        import_extra("antigravity2", "wings", "Flying")


def test_what_is_broken_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_wings.py").write_text("import json.antigravity2")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"cannot be imported \(No module named 'json.anti"):
        import_extra("broken_wings", "wings", "Flying")
