"""Names of a package load on first use."""

import pytest

from mae_keras.files import lazy_names


def test_a_name_is_loaded_from_its_home():
    load, listed, names = lazy_names("email", {"Message": "message", "Header": "header"})
    assert load("Message").__module__ == "email.message"
    assert listed() == names == ["Header", "Message"]


def test_an_unknown_name_is_an_attribute_error():
    load, _, _ = lazy_names("email", {"Message": "message"})
    with pytest.raises(AttributeError, match="module 'email' has no attribute 'Massage'"):
        load("Massage")


@pytest.mark.parametrize("package", ["data", "figures", "models", "runs"])
def test_packages_list_and_load_their_names(package):
    import mae_keras

    package = getattr(mae_keras, package)
    assert dir(package) == package.__all__
    assert all(getattr(package, name) is not None for name in package.__all__)
