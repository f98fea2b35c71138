#!/usr/bin/env bash
# Checks that both lock files resolve to wheels only, with their hashes, on each Python. Installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh uv
status=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
options=(--dry-run --only-binary :all: --require-hashes --python-platform x86_64-manylinux_2_28)
for version in 3.11 3.12 3.13 3.14; do
  for lock in run dev; do
    # uv, because pip reads the markers of a lock for the Python that runs pip, not for --python-version.
    if .venv/bin/uv pip install "${options[@]}" --python-version "$version" --target "$scratch" \
      -r "requirements/$lock.lock" 2>"$scratch/log"; then
      echo "Python $version: the $(grep -c '^ + ' "$scratch/log") packages of $lock.lock are wheels"
    else
      cat "$scratch/log" >&2
      echo "Python $version: $lock.lock does NOT resolve to wheels" >&2
      status=1
    fi
  done
done
exit $status
