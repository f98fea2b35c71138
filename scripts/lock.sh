#!/usr/bin/env bash
# Writes requirements/*.lock from pyproject.toml: hashed, for every platform and Python, without any address.
# Usage: lock.sh [--upgrade]. The run lock takes its versions from the dev lock: what is tested is what runs.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh uv
# The oldest Python is named, or the lock would begin at the one that runs this.
options=(--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate
  --no-header --quiet)
.venv/bin/uv pip compile pyproject.toml --extra fast --extra embedded --group dev --group build \
  "${options[@]}" "$@" -o requirements/dev.lock
.venv/bin/uv pip compile pyproject.toml --extra fast --group build -c requirements/dev.lock \
  "${options[@]}" "$@" -o requirements/run.lock
for clients in tests/clients/requirements/*.in; do
  .venv/bin/uv pip compile "$clients" "${options[@]}" "$@" -o "${clients%.in}.lock"
done
if grep -nE '://|--index|--find-links' requirements/*.lock tests/clients/requirements/*.lock; then
  echo "lock: the lines above name an address; they must not be committed" >&2
  exit 1
fi
