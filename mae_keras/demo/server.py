"""A page for the browser of this machine: Gradio, a free port, a server that nothing else reaches.

Imports nothing heavy: the command line finds out early what is missing.
"""

import contextlib
import importlib.util
import os
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from typing import Any

from mae_keras.arguments import check_int
from mae_keras.extras import install_command

FIRST_PORT, _NUM_PORTS = 7860, 100


def check_gradio() -> None:
    """Refuse to go on without Gradio.

    Raises:
        ImportError: if it is not installed; it says how to install it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ImportError(
            f"The page of `mae-keras demo` needs Gradio, which is not installed. Install it with: "
            f"{install_command('demo')}"
        )


@contextlib.contextmanager
def private_gradio() -> Iterator[Any]:
    """Gradio, told to send nothing anywhere and to keep uploads only until the block ends."""
    check_gradio()
    with tempfile.TemporaryDirectory(
        prefix="mae-keras-demo-", ignore_cleanup_errors=True
    ) as folder:
        variables = {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "GRADIO_TEMP_DIR": folder,
        }
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            import gradio

            yield gradio
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def listening_socket(port: int | None = None) -> socket.socket:
    """Take a port of this machine; nobody else can take it until the socket is closed.

    Args:
        port: the one wanted, or `None`: the first free one from 7860 on.

    Returns:
        A socket that only this machine reaches.

    Raises:
        TypeError, ValueError: if it is no port or in use, or all are.
    """
    check_int("port", port, 1, 65535, optional=True)
    for candidate in range(FIRST_PORT, FIRST_PORT + _NUM_PORTS) if port is None else [port]:
        listener = socket.socket()
        if os.name == "posix":  # else a port whose last connections are closing looks taken
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
    if port is None:
        last = FIRST_PORT + _NUM_PORTS - 1
        raise ValueError(f"All ports from {FIRST_PORT} to {last} are in use. Name one with --port")
    raise ValueError(
        f"`port` must be free. Received: port={port} ({reason}). Choose another one, or leave "
        f"--port out to take the next free one"
    )


def has_display() -> bool:
    """Whether a browser window can open here."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def served(gradio: Any, page: Any, listener: socket.socket, css: str = "") -> Iterator[str]:
    """Serve a page inside a `with` block.

    `page.launch` would give up where the server takes 3 seconds to answer.

    Args:
        gradio: the module.
        page: `gradio.Blocks`.
        listener: what `listening_socket` returned; closed at the end.
        css: styles of the page.

    Yields:
        The page's address.
    """
    import fastapi
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    host, port = listener.getsockname()
    app = gradio.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size="50mb",
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        css=css,
    )
    # A web site whose name is made to resolve to this machine would else read the page.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[host, "localhost"])
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError(f"The server of the page could not start on port {port}")
            time.sleep(0.05)
        yield f"http://{host}:{port}/"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def show_until_stopped(address: str, browser: bool = True) -> None:
    """Print a page's address, open it where a window can open, and wait for Ctrl-C.

    Args:
        address: of the page.
        browser: whether to open it.
    """
    opened = browser and has_display() and webbrowser.open(address)
    reason = "" if opened or not browser else " (there is no display to open it on)"
    print(f"Open {address} in a browser{reason}. Ctrl-C stops the page.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)
    print("Stopped")
