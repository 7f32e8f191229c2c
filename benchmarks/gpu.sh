#!/usr/bin/env bash
# Everything that only a GPU can show, in order of value and within a limit of time:
#
#   benchmarks/gpu.sh --minutes 8 --out results           on a machine with one GPU
#   benchmarks/gpu.sh --device cpu --tiny --out results   the same steps, small, to try them
#
# Packages that are missing are installed from wheels in .whl/ beside benchmarks/, without network:
#   pip download --no-deps --only-binary=:all: -d .whl tyro docstring-parser typeguard …
# The steps and their results are described in benchmarks/gpu.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if ls .whl/*.whl >/dev/null 2>&1; then
    target=$(mktemp -d)
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$target" .whl/*.whl
    export PYTHONPATH="$target:${PYTHONPATH:-}"
fi
export PYTHONPATH="$PWD:${PYTHONPATH:-}" PYTHONUNBUFFERED=1
exec "$python" benchmarks/gpu.py "$@"
