#!/usr/bin/env bash
# Fails when src/pms/web is not what web/ builds, or when the dashboard's own checks fail; skips without Node.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v npm >/dev/null; then
  echo "dashboard: Node is absent, not checked"
  exit 0
fi
scripts/setup.sh web
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
cd web
npm run --silent check
npm test --silent
npm run --silent build -- --logLevel error --outDir "$built" --emptyOutDir
if ! diff -rq "$built" ../src/pms/web -x __init__.py -x __pycache__; then
  echo "dashboard: src/pms/web is not what web/ builds; run 'make web' and commit the result" >&2
  exit 1
fi
echo "dashboard: src/pms/web is what web/ builds"
