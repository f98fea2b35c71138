#!/usr/bin/env bash
# Runs every static check, all of them even when one fails; fails when one did.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
failed=()

check() {
  local name=$1 started=$SECONDS
  shift
  echo "== $name"
  "$@" || failed+=("$name")
  echo "   $((SECONDS - started)) s"
}

check "ruff check" $bin/ruff check --quiet .
check "ruff format" $bin/ruff format --check --quiet .
check "mypy" $bin/mypy
check "import-linter" $bin/lint-imports --no-logo --no-cache
check "tidy" $bin/python -m pytest tests/tidy -q
check "dashboard" scripts/check_web.sh

if [ ${#failed[@]} -gt 0 ]; then
  printf 'make check: FAILED: %s\n' "$(IFS=,; echo "${failed[*]}")" >&2
  exit 1
fi
echo "make check: passed"
