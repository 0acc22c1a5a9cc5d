#!/usr/bin/env bash
# Reads and pins through the gateway of a real Kubo, and compares every byte.
#
# Usage: tests/peers/gateway.sh [FOLDER]        without one, 64 MiB of random files are made
#
# Builds Kubo at the first run (tests/peers/kubo.sh). Ends with "1 passed, 0 failed" and status 0.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '== %s (%ss)\n' "$1" "$SECONDS"; }
fail() {
  printf 'gateway.sh: %s\n' "$1" >&2
  exit 1
}
within() { # SECONDS COMMAND...: until the command succeeds
  local end=$((SECONDS + $1))
  until "${@:2}" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || fail "not within $1 s: ${*:2}"
    sleep 0.1
  done
}

say "the programs"
kubo=$(tests/peers/kubo.sh)
cargo build --quiet --release --bin ipfs-kit
kit="$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/ipfs-kit"

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

tree=${1:-$work/tree}
if [ $# -eq 0 ]; then
  say "64 MiB of random files"
  mkdir -p "$tree/many" "$tree/deep/er/still"
  for size in 0 1 1024 262144 262145 50000000; do
    head -c "$size" /dev/urandom >"$tree/deep/er/file-$size"
  done
  for number in $(seq 500); do head -c 32768 /dev/urandom >"$tree/many/$number"; done
  ln -s ../many "$tree/deep/link"
fi

say "Kubo, offline, adds them"
export IPFS_PATH=$work/kubo IPFS_TELEMETRY=off
"$kubo" init --profile=test >/dev/null
"$kubo" config Addresses.Gateway /ip4/127.0.0.1/tcp/0
"$kubo" config --json Import.CidVersion 1
root=$("$kubo" add --recursive --quieter --hidden "$tree")
"$kubo" daemon --offline >"$work/kubo.log" 2>&1 &
within 60 grep -q 'Gateway server listening on' "$work/kubo.log"
port=$(sed -n 's|^Gateway server listening on /ip4/127.0.0.1/tcp/||p' "$work/kubo.log")

node() { # NAME: a node without a cluster that asks Kubo
  "$kit" --folder "$work/$1" --api 127.0.0.1:0 init --name "$1" >/dev/null
  IPFS_KIT_GATEWAYS="http://127.0.0.1:$port" "$kit" --folder "$work/$1" up >"$work/$1.log" 2>&1 &
  within 60 "$kit" --folder "$work/$1" status
}

say "get: block by block"
node reader
"$kit" --folder "$work/reader" get "$root" -o "$work/read"
diff -r --no-dereference "$tree" "$work/read" || fail "what was read differs"

say "pin add: as one CAR"
node keeper
"$kit" --folder "$work/keeper" pin add "$root" >/dev/null

say "Kubo is gone; what is pinned is here"
kill %1
"$kit" --folder "$work/keeper" get "$root" -o "$work/kept"
diff -r --no-dereference "$tree" "$work/kept" || fail "what was pinned differs"
say "done"
echo "1 passed, 0 failed"
