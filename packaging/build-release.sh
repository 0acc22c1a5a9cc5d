#!/usr/bin/env bash
# Makes dist/ipfs-kit-VERSION-linux-ARCH.tar.gz and its checksum from this checkout. Needs the Rust
# toolchain; what it makes installs without. Two runs over one commit make the same archive, as long as
# toolchain and system are the same.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
cargo build --release --locked --package ipfs-kit --bin ipfs-kit
program="$target/release/ipfs-kit"
version=$("$program" version | sed -n '1s/^ipfs-kit //p')
name="ipfs-kit-$version-linux-$(uname -m)"
epoch="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root="$stage/$name"
install -D -m 0755 "$program" "$root/bin/ipfs-kit"
# Line tables are for the developer; names of functions stay, for the backtraces of users.
strip --strip-debug "$root/bin/ipfs-kit"
"$root/bin/ipfs-kit" man "$root/man" >/dev/null
mkdir "$root/completions"
"$root/bin/ipfs-kit" completions bash > "$root/completions/ipfs-kit.bash"
"$root/bin/ipfs-kit" completions zsh > "$root/completions/_ipfs-kit"
"$root/bin/ipfs-kit" completions fish > "$root/completions/ipfs-kit.fish"
install -m 0644 packaging/ipfs-kit.service README.md LICENSE-MIT LICENSE-APACHE "$root"
install -m 0755 packaging/install.sh packaging/uninstall.sh "$root"
install -D -m 0644 -t "$root/docs" docs/*.md
glibc=$(objdump -T "$root/bin/ipfs-kit" | grep -o 'GLIBC_2\.[0-9]*' | sort -uV | tail -n 1)
echo "Linux on $(uname -m) with glibc ${glibc#GLIBC_} or newer" > "$root/PLATFORM"
(cd "$root" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) > "$stage/SHA256SUMS"
mv "$stage/SHA256SUMS" "$root"

mkdir -p dist
tar --create --directory "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" \
  --mode='u+rwX,go+rX,go-w' "$name" | gzip --no-name --best > "dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" | tee "$name.tar.gz.sha256")
echo "dist/$name.tar.gz: $(stat -c %s "dist/$name.tar.gz") bytes, for $(cat "$root/PLATFORM")"
