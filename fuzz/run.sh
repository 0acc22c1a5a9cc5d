#!/usr/bin/env bash
# Fuzzes every target, coverage-guided, and fails at the end if anything was found. What is found lies in
# fuzz/found/TARGET; put it below fuzz/regressions/TARGET when it is mended.
#
# libFuzzer comes with its crate; the compiler's own coverage pass does the rest, on stable Rust, for the
# workspace's packages only, so that the dependencies are those of any release build. Needs a C++ compiler.
#
# Usage: fuzz/run.sh [-m MINUTES] [-j JOBS] [-r] [TARGET...]
#   -m  minutes for each target, 5 by default; fractions are fine
#   -j  targets at a time, the number of cores by default
#   -r  targets of the rooms core, consensus, content and store only, which build much faster
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=5
jobs="$(nproc)"
features=()
while getopts m:j:r option; do
  case "$option" in
    m) minutes="$OPTARG" ;;
    j) jobs="$OPTARG" ;;
    r) features=(--no-default-features) ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
seconds="$(awk -v m="$minutes" 'BEGIN { s = int(m * 60); print s < 1 ? 1 : s }')"

here="$PWD/fuzz"
target_dir="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
RUSTFLAGS="--cfg fuzzing" RUSTC_WORKSPACE_WRAPPER="$here/rustc-with-coverage.sh" \
  cargo build -q --release -p ipfs-kit-fuzz "${features[@]}" --bin ipfs-kit-fuzz --target-dir "$target_dir"
fuzzer="$target_dir/release/ipfs-kit-fuzz"

corpus="$target_dir/fuzz-corpus"
mapfile -t targets < <(FUZZ_SEEDS="$corpus" "$fuzzer")
if [ $# -gt 0 ]; then targets=("$@"); fi

# One target; its last words are its figures.
one() {
  local target="$1" folders=("$corpus/$1")
  mkdir -p "$here/found/$target" "$corpus/$target"
  if [ -d "$here/regressions/$target" ]; then folders+=("$here/regressions/$target"); fi
  if FUZZ_TARGET="$target" "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
    -max_len=16384 -print_final_stats=1 -artifact_prefix="$here/found/$target/" \
    "${folders[@]}" >"$corpus/$target.log" 2>&1; then
    rmdir "$here/found/$target"
    awk -v t="$target" '/ cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1) }
      /number_of_executed_units/ { n = $2 }
      END { printf "%-18s clean: %s runs, %s edges\n", t, n, c }' "$corpus/$target.log"
  else
    echo "$target FAILED, see $corpus/$target.log and fuzz/found/$target"
    tail -n 25 "$corpus/$target.log"
    return 1
  fi
}
export -f one
export corpus fuzzer here seconds
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'one {}'
