"""Loads files in a process of its own that is watched: `hostile_child.py FOLDER` prints JSON.

Every line has the file's name, the error it ended in, and what it did besides: anything opened,
imported or run, and CPU seconds.
"""

import json
import os
import pathlib
import re
import resource
import sys
import time

import keras

import mae_keras
from mae_keras.models import load_model
from mae_keras.registration import REGISTERED, load_registered

# Lines of the interpreter and of the libraries, which import modules of their own late.
_OWN = (sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(mae_keras.__file__)))
_SYSTEM = ("/proc/", "/sys/", "/etc/localtime", "/usr/share/zoneinfo", "/dev/null")
_CHANGES = re.compile(
    r"subprocess|os\.(system|exec|fork|posix_spawn|spawn|mkdir|remove|rename|rmdir|symlink|link"
    r"|chmod|chown|truncate|putenv)|shutil|socket\.|ftplib|urllib|webbrowser|pickle|ctypes\.dlopen"
)
watched = None


def watch(event, arguments):
    if watched is None:
        return
    path, events = watched
    if event == "open":
        name, mode, flags = arguments
        written = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        name = os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)
        ours = name == path or name.startswith((*_OWN, *_SYSTEM)) or name.isdigit()
        if written or not ours:
            events.append(f"open {name} {mode}")
    elif event == "import" and arguments[0] in ("hostile_module", "keras_hub", "antigravity"):
        events.append(f"import {arguments[0]}")
    elif _CHANGES.match(event):
        events.append(f"{event} {str(arguments)[:200]}")


@keras.saving.register_keras_serializable("hostile")
def canary(*_):
    watched[1].append("the registered function was called")


@keras.saving.register_keras_serializable("hostile")
class Canary(keras.layers.Dense):
    def __init__(self, **_):
        watched[1].append("the registered class was made")


def load(path):
    """One line of the report."""
    global watched
    events = []
    begin = time.process_time()
    watched = (str(path), events)
    try:
        load_model(path)
        error = None
    except ValueError as refusal:
        error = str(refusal)
    except BaseException as other:  # noqa: BLE001 - reported
        error = f"{type(other).__name__}, not a ValueError: {other}"
    finally:
        watched = None
    return {"name": path.name, "error": error, "did": events, "s": time.process_time() - begin}


def main(folder):
    for name in REGISTERED:
        load_registered(name)
    for path in sorted(folder.glob("legitimate*.keras")):
        load_model(path)  # whatever is imported late is imported now
    sys.addaudithook(watch)
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**30,) * 2)
    for path in sorted(folder.glob("*.keras")):
        print(json.dumps(load(path)), flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
