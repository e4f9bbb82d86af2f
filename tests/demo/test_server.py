import contextlib
import http.client
import os
import pathlib
import socket
import sys
import types

import pytest
from command_line import refusal, run

from mae_keras.demo import server
from mae_keras.run_contents import pretrained_names


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_refused_and_another_is_found(taken, monkeypatch):
    with pytest.raises(ValueError, match=f"Received: port={taken}"):
        server.listening_socket(taken)
    monkeypatch.setattr(server, "FIRST_PORT", taken)
    with server.listening_socket() as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1" and taken < port < taken + 100
        with pytest.raises(ValueError, match="in use"):
            server.listening_socket(port)


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_a_port_is_in_range(port):
    with pytest.raises(ValueError, match="`port` must be"):
        server.listening_socket(port)


def test_the_command_names_the_port_and_what_to_do(taken, finished, capsys):
    pytest.importorskip("gradio")
    line = refusal(capsys, "demo", finished[0], "--port", taken)
    assert f"--port={taken}" in line and "leave --port out" in line


def test_a_missing_gradio_is_named_with_its_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    line = refusal(capsys, "demo", tmp_path)
    assert "Gradio" in line and "pip install" in line and "demo" in line


@pytest.mark.parametrize(
    ("variables", "opens"),
    [({}, False), ({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "w"}, True)],
)
def test_a_browser_opens_where_there_is_a_display(variables, opens, monkeypatch, capsys):
    monkeypatch.setattr(server.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    opened = []
    monkeypatch.setattr(server.webbrowser, "open", lambda address: opened.append(address) or True)

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(server.time, "sleep", interrupt)
    server.show_until_stopped("http://127.0.0.1:1")
    server.show_until_stopped("http://127.0.0.1:1", browser=False)
    assert opened == ["http://127.0.0.1:1"] * opens
    printed = capsys.readouterr().out
    assert printed.count("http://127.0.0.1:1") == 2
    assert ("no display" in printed) is not opens


@pytest.mark.slow
def test_without_a_run_the_page_shows_the_weights_of_mnist(monkeypatch, capsys):
    pytest.importorskip("gradio")
    served = []

    @contextlib.contextmanager
    def running_demo(source, listener, **options):
        with listener:
            served.append(source)
            yield "http://127.0.0.1:1"

    monkeypatch.setattr("mae_keras.demo.page.running_demo", running_demo)
    monkeypatch.setattr(server, "show_until_stopped", lambda address, browser: None)
    code, _, err = run(capsys, "demo")
    assert (code, served) == (0, ["mnist"]), err
    assert "did you mean 'mnist'" in refusal(capsys, "demo", "mnits")
    known = ", ".join(pretrained_names())
    unknown = refusal(capsys, "demo", "imagenet-huge")
    assert f"pretrained weights, {known}. Received: 'imagenet-huge', not found" in unknown


def test_only_requests_for_this_machine_are_answered():
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")

    def mount(app, page, **options):
        app.get("/")(lambda: "page")
        return app

    gradio = types.SimpleNamespace(mount_gradio_app=mount)
    listener = server.listening_socket()
    port = listener.getsockname()[1]
    statuses = {}
    with server.served(gradio, None, listener):
        for host in ("127.0.0.1", "localhost", "evil.com", "127.0.0.1.evil.com"):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
                connection.request("GET", "/", headers={"Host": f"{host}:{port}"})
                statuses[host] = connection.getresponse().status
    assert list(statuses.values()) == [200, 200, 400, 400], statuses


def test_the_environment_is_as_before_once_the_page_is_closed(monkeypatch):
    monkeypatch.setattr(server, "check_gradio", lambda: None)
    monkeypatch.setitem(sys.modules, "gradio", types.ModuleType("gradio"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    before = dict(os.environ)
    with server.private_gradio():
        folder = pathlib.Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.is_dir() and os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert dict(os.environ) == before and not folder.exists()
