#!/usr/bin/env bash
# Makes a virtual environment of its own for each peer that the benchmarks measure against: .venv-peers/NAME from
# benchmarks/peers/NAME.txt. A peer that does not install is noted with its reason, and the benchmarks list it so.
set -uo pipefail
cd "$(dirname "$0")/.."
for list in benchmarks/peers/*.txt; do
    name=$(basename "$list" .txt)
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    venv=.venv-peers/$name
    [ -f "$venv/.installed" ] && [ "$venv/.installed" -nt "$list" ] && continue
    echo "peers: $name" >&2
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    if "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$list" >"$venv/install.log" 2>&1; then
        touch "$venv/.installed"
        rm -f "$venv/failed"
    else
        grep -m1 -oE '[A-Za-z]+Error: .*' "$venv/install.log" >"$venv/failed" ||
            grep -m1 -iE 'error' "$venv/install.log" >"$venv/failed" || echo "pip failed" >"$venv/failed"
        echo "peers: $name does not install: $(cat "$venv/failed")" >&2
    fi
done
