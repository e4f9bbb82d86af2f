# Sourced by scripts/run and scripts/test: makes .venv and installs the package into it, once.

# set_up NAME EXTRAS: NAME marks what was installed, so that a second start installs nothing.
set_up() {
    local name=$1 extras=$2 stamp python
    stamp="$PWD $extras $(cat pyproject.toml constraints.txt | cksum)"
    if [ -x .venv/bin/python ] && [ "$(cat ".venv/.installed-$name" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    if ! .venv/bin/python -c '' 2>/dev/null; then
        python=$(find_python) || return 1
        rm -rf .venv
        "$python" -m venv .venv
    fi
    echo "Installing into .venv (once; TensorFlow is large, this takes a few minutes) ..." >&2
    # compat: else the folder of the clone, seen from its parent, hides the package as a namespace
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --config-settings editable_mode=compat --constraint constraints.txt --editable ".[$extras]"
    echo "$stamp" >".venv/.installed-$name"
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "mae_keras needs Python 3.10 to 3.13; none was found. Name one: PYTHON=/path $0" >&2
    return 1
}
