#!/usr/bin/env bash
# Sets up a Python environment with the peers that pip can get on this machine, and says which it could not.
#
#   bash peers/setup.sh
#
# The environment lies outside the repository; LAYERWISE_PEERS names another folder.
set -uo pipefail

environment="${LAYERWISE_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/layerwise-bench-peers}"
python="$environment/bin/python"

if [ ! -x "$python" ] && ! python3 -m venv "$environment"; then
  echo "No Python environment: python3 with its venv module is missing. The benchmarks run without peers." >&2
  exit 1
fi

missing=()
# One by one: a package that is unavailable must not block the others. bitsandbytes needs scipy and packaging, also
# when its package comes from PYTHONPATH.
for package in numpy torch scipy packaging "jax jaxlib" optax bitsandbytes; do
  # shellcheck disable=SC2086 # "jax jaxlib" are two
  if ! "$python" -m pip install --quiet --retries 1 --disable-pip-version-check $package; then
    missing+=("$package")
  fi
done
command -v g++ >/dev/null || missing+=("g++ (for torch.compile)")

echo "peers in $environment:"
"$python" -m pip list --disable-pip-version-check 2>/dev/null | grep -iE '^(numpy|torch|jax|jaxlib|optax|bitsandbytes) '
for package in ${missing[@]+"${missing[@]}"}; do
  echo "could not get: $package" >&2
done
