#!/usr/bin/env bash
# Makes ready what a make target needs; silent and quick when it is.
# Usage: setup.sh run|dev|browser|web|uv|kernel
set -euo pipefail
cd "$(dirname "$0")/.."
uv_version=0.13.9
export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export PYTHONNOUSERSITE=1

say() { printf '%s\n' "$*" >&2; }
fail() { say "setup: $*"; exit 1; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

# The interpreter of a new .venv: $PYTHON when it is given, otherwise the first that is new enough.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if new_enough "$candidate"; then echo "$candidate"; return; fi
  done
  fail "Python 3.11 or newer is needed${PYTHON:+, not $PYTHON}; name it: make PYTHON=python3.12 ..."
}

ensure_venv() {
  local have
  have=$(version_of .venv/bin/python)
  # The scripts of a .venv name its folder: a moved or copied one is replaced.
  if new_enough .venv/bin/python && head -n 3 .venv/bin/pip 2>/dev/null | grep -qF "$(pwd -P)/.venv/"; then
    if [ -z "${PYTHON:-}" ] || [ "$have" = "$(version_of "$PYTHON")" ]; then return; fi
  fi
  local python
  python=$(find_python)
  [ ! -e .venv ] || { say "Replacing .venv (Python ${have:-missing}) ..."; rm -rf .venv; }
  say "Making .venv with $("$python" --version 2>&1) ..."
  if ! "$python" -m venv .venv >/dev/null 2>&1; then
    rm -rf .venv
    fail "'$python -m venv .venv' failed; on Debian and Ubuntu: apt-get install python3-venv"
  fi
}

# Runs pip with a count of packages instead of its own output; errors stay visible, odd warnings do not.
# $1: the number of packages; the rest goes to pip.
pip_install() {
  local every=20 end='\n' total=$1
  shift
  if [ -t 2 ]; then every=1 end='\r'; fi
  .venv/bin/python -m pip install "$@" 2> >(grep -v '^WARNING: Location' >&2) |
    awk -v total="$total" -v every="$every" -v end="$end" '
      /^(Collecting|Requirement already)/ && ++seen % every == 0 {
        printf "  %d of at most %d packages%s", seen, total, end > "/dev/stderr"
      }
      /^Installing collected/ { print "  installing ...                    " > "/dev/stderr" }'
}

key_of() {
  local sources=(pyproject.toml setup.py src/pms/risk/_kernel.pyx scripts/setup.sh .venv/pyvenv.cfg)
  cat "$@" "${sources[@]}" | sha256sum | cut -c1-16
}

# The project itself, and where a C compiler is the risk book's compiled kernel; this succeeds without one.
install_project() {
  rm -f src/pms/risk/_kernel.c src/pms/risk/_kernel.*.so src/pms/risk/_kernel.*.pyd
  .venv/bin/python -m pip install -q --no-deps --no-build-isolation --no-index -e .
}

has_kernel() { .venv/bin/python -c 'import pms.risk._kernel' 2>/dev/null; }

# Builds it anew and says why it cannot be built.
ensure_kernel() {
  ensure_packages run
  local log
  log=$(mktemp)
  install_project >"$log" 2>&1 && has_kernel && { rm -f "$log"; say "The compiled kernel is built."; return; }
  .venv/bin/python setup.py -q build_ext --build-temp "$(mktemp -d)" --inplace >"$log" 2>&1 || true
  tail -n 15 "$log" >&2
  fail "the compiled kernel could not be built, see above; it needs a C compiler and Python's headers"
}

# $1: run or dev. The stamp's name holds a hash of the lock, the project's metadata and the Python version.
ensure_packages() {
  local lock=requirements/$1.lock stamp covers
  ensure_venv
  stamp=.venv/.ready-$1-$(key_of "$lock")
  covers=.venv/.covers-run-$(key_of requirements/*.lock)  # the dev packages include those of run
  if [ -e "$stamp" ] || { [ "$1" = run ] && [ -e "$covers" ]; }; then return; fi
  rm -f .venv/.ready-* .venv/.covers-run-*
  say "Installing the packages of $lock into .venv (the first time takes about a minute) ..."
  pip_install "$(grep -c '==' "$lock")" --require-hashes --only-binary :all: -r "$lock" ||
    fail "the packages of $lock could not be installed, see above"
  install_project 2>.venv/install.log ||
    { cat .venv/install.log >&2; fail "the project itself could not be installed into .venv"; }
  has_kernel || say "The compiled risk kernel was not built (no C compiler?): NumPy serves. See make kernel."
  touch "$stamp"
  [ "$1" = run ] || touch "$covers"
}

has_chromium() {
  local name
  for name in ${PMS_TEST_CHROMIUM:-} chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then return; fi
  done
  return 1
}

# Never fails: without a browser its tests fail, with the line that says what to install.
ensure_browser() {
  if has_chromium; then return; fi
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "No Chromium here, so the browser tests will fail. Debian: apt-get install chromium fonts-dejavu-core"
    return
  fi
  say "Installing Chromium for the browser tests with apt-get (about a minute) ..."
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  if apt-get update >"$log" 2>&1 &&
    apt-get install -y --no-install-recommends chromium fonts-dejavu-core >>"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 5 "$log" >&2
    say "Chromium could not be installed: the browser tests will fail."
  fi
}

ensure_web() {
  command -v npm >/dev/null || fail "npm (Node 20.19 or newer) is needed to build the dashboard"
  local stamp
  stamp=web/node_modules/.ready-$(cat web/package-lock.json web/package.json | sha256sum | cut -c1-16)
  [ ! -e "$stamp" ] || return 0
  say "Installing the dashboard's build tools into web/node_modules ..."
  (cd web && npm ci --no-audit --no-fund --loglevel=error >/dev/null)
  touch "$stamp"
}

# The tool that writes and checks the lock files; nothing else needs it, so it is in none of them.
ensure_uv() {
  ensure_packages dev
  .venv/bin/uv --version 2>/dev/null | grep -q "^uv $uv_version" ||
    .venv/bin/python -m pip install -q "uv==$uv_version" 2> >(grep -v '^WARNING: Location' >&2)
}

case "${1:-}" in
  run | dev) ensure_packages "$1" ;;
  browser) ensure_browser ;;
  web) ensure_web ;;
  uv) ensure_uv ;;
  kernel) ensure_kernel ;;
  *) fail "usage: setup.sh run|dev|browser|web|uv|kernel" ;;
esac
