#!/usr/bin/env bash
# Adds a folder of a million empty files, lists it, reads one, and says what it took. Arguments: how many
# entries, and the most memory in MiB that the node and the command may each take.
#
# Usage: tests/large_folder.sh [ENTRIES] [MIB]
set -euo pipefail
cd "$(dirname "$0")/.."

entries="${1:-1000000}"
mib_max="${2:-600}"
cargo build -q --release --bin ipfs-kit
kit="${CARGO_TARGET_DIR:-target}/release/ipfs-kit"
kit="$(realpath "$kit")"

place="$(mktemp -d)"
trap 'kill "${node:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$place"' EXIT

mkdir "$place/data"
(cd "$place/data" && seq -f '%08.0f' 1 "$entries" | xargs -n 4000 touch)
export IPFS_KIT_FOLDER="$place/node"
"$kit" --api 127.0.0.1:0 init >/dev/null
"$kit" up >"$place/log" 2>&1 &
node=$!
for _ in $(seq 600); do
  if "$kit" status >/dev/null 2>&1; then break; fi
  sleep 0.1
done

# The most memory that a process has had, in MiB.
peak() { awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$1/status" 2>/dev/null || true; }

begun=$SECONDS
"$kit" -q add "$place/data" >"$place/cid" &
add=$!
most=0
while kill -0 "$add" 2>/dev/null; do
  now="$(peak "$add")"
  if [ "${now:-0}" -gt "$most" ]; then most="$now"; fi
  sleep 0.2
done
wait "$add"
took=$((SECONDS - begun))
cid="$(cat "$place/cid")"
listed="$("$kit" --output ndjson ls "$cid" | wc -l)"
"$kit" cat "$cid/$(printf '%08d' "$entries")" >"$place/last"
held="$(peak "$node")"
echo "entries=$entries listed=$listed seconds=$took add_mib=$most node_mib=$held"

[ "$listed" -eq "$entries" ] || { echo "the list is not whole"; exit 1; }
[ ! -s "$place/last" ] || { echo "the last file is not empty"; exit 1; }
[ "$most" -le "$mib_max" ] && [ "$held" -le "$mib_max" ] || { echo "more than $mib_max MiB"; exit 1; }
