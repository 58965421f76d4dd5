#!/bin/sh
# Unpack what bundle.py made, below a folder of this machine's own, and run a script of this folder with it.
set -e
here=$(cd "$(dirname "$0")" && pwd)
bundle=$here/../../.cache/gpu
into=${TMPDIR:-/tmp}/comfyui-bundle
script=$1
shift
mkdir -p "$into"
tar -xzf "$bundle/comfyui.tar.gz" -C "$into"
python -m pip install --quiet --no-index --no-deps --target "$into" "$bundle"/*.whl
PYTHONPATH=$into python "$here/$script" --comfyui "$into" "$@"
