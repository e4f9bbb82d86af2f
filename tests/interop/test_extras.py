"""Optional libraries."""

import json

import pytest

from mae_keras.interop.extras import import_extra


def test_what_is_installed_is_imported():
    assert import_extra("json", "any", "Writing") is json


def test_what_is_not_installed_is_named_with_the_extra_that_has_it():
    with pytest.raises(ImportError, match=r"Flying needs `antigravity2`: .*'mae_keras\[wings\]'"):
        import_extra("antigravity2", "wings", "Flying")
