"""The page in a real browser."""

import gc
import os
import pathlib
import socket
import time
import warnings
from unittest import mock

import numpy as np
import pytest
from browser import Browser, find_chromium
from PIL import Image

FILE_INPUT = "#upload input, input#upload, input[type=file]"
# A click on a picture that is still loading is nowhere on it.
LOADED = "(p => p.complete && p.naturalWidth)(document.querySelector('#visible img'))"


@pytest.fixture
def connected():
    """Names of the hosts that this process connects to."""
    hosts, connect = [], socket.socket.connect

    def noting(self, address):
        hosts.append(str(address[0]) if isinstance(address, tuple) else "")
        return connect(self, address)

    with mock.patch.object(socket.socket, "connect", noting):
        yield hosts


@pytest.fixture
def browser(finished, connected, tmp_path):
    """A browser on the page of a finished run."""
    pytest.importorskip("gradio", reason="needs the extra demo")
    if find_chromium() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    from mae_keras.demo.page import running_demo
    from mae_keras.demo.server import listening_socket

    with warnings.catch_warnings(), mock.patch.dict(os.environ):
        warnings.simplefilter("ignore")  # Gradio's own, in its threads
        with running_demo(finished[0], listening_socket()) as address:
            browser = Browser(tmp_path / "profile")
            try:
                browser.open(address)
                browser.before = ""  # what `hidden` found
                yield browser
            finally:
                browser.close()
        gc.collect()  # of event loops that Gradio leaves open


def hidden(browser):
    """How many patches the page says are hidden; waits until it says another number."""
    said = "(document.querySelector('#sentence')?.innerText.match(/([0-9,]+) of [0-9,]+ patches/))"
    browser.before = browser.wait(f"{said} && {said}[1] != '{browser.before}' && {said}[1]", 60)
    return int(browser.before)


def test_a_person_can_hide_patches_and_bring_a_picture(browser, connected, tmp_path):
    assert hidden(browser) == 12  # of 16
    browser.wait("document.querySelectorAll('#neighbors img').length == 8")
    browser.wait("document.querySelectorAll('#pictures img').length == 5")

    browser.click("#show-all")
    assert hidden(browser) == 0
    browser.wait(LOADED)
    browser.click("#visible img", 0.1, 0.1)
    browser.click("#visible img", 0.9, 0.9)
    while (count := hidden(browser)) != 2:
        assert count == 1
    browser.wait(LOADED)
    browser.click("#visible img", 0.1, 0.1)
    assert hidden(browser) == 1
    browser.click("#draw")
    assert hidden(browser) == 12

    seen = "document.querySelector('#pictures img').src"
    before = browser.value(seen)
    Image.fromarray(np.eye(20, dtype="uint8") * 255).save(tmp_path / "line.png")
    browser.upload(FILE_INPUT, tmp_path / "line.png")
    browser.wait(f"{seen} != '{before}'", 60)

    (tmp_path / "text.png").write_text("no picture")
    browser.upload(FILE_INPUT, tmp_path / "text.png")
    browser.wait("document.body.innerText.includes('text.png cannot be read as a picture')", 60)

    pictures = os.environ.get("MAE_KERAS_SCREENSHOTS")  # a folder, to look at them
    for width in (1280, 390):
        browser.resize(width, 1000)
        time.sleep(0.5)
        assert browser.value("document.documentElement.scrollWidth") <= width
        if pictures:
            browser.screenshot(pathlib.Path(pictures) / f"demo_{width}.png")
    # Gradio writes a picture anew under the name that it has, while a browser may be reading it.
    assert {error for error in browser.errors if "CONTENT_LENGTH_MISMATCH" not in error} == set()
    local = ("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:")
    assert [address for address in browser.requests if not address.startswith(local)] == []
    assert set(connected) <= {"127.0.0.1", ""}
