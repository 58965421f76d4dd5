#!/bin/sh
# Unpack what bundle.py made, below a folder of this machine's own, and run a script of this folder with it.
set -e
here=$(cd "$(dirname "$0")" && pwd)
bundle=$here/../../.cache/gpu
into=${TMPDIR:-/tmp}/comfyui-bundle
script=$1
shift
if [ ! -d "$into" ]; then
    rm -rf "$into.part"
    mkdir "$into.part"
    tar -xzf "$bundle/comfyui.tar.gz" -C "$into.part"
    python3 -m pip install --quiet --no-index --no-deps --no-cache-dir --target "$into.part" "$bundle"/*.whl
    mv "$into.part" "$into"
fi
PYTHONPATH=$into PYTHONUNBUFFERED=1 exec python3 "$here/$script" --comfyui "$into" "$@"
