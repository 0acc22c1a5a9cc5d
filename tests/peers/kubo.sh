#!/usr/bin/env bash
# Prints the path of a Kubo (go-ipfs) binary, building it first where this machine has none yet.
#
# Needs Go 1.26 or newer and the Go module proxy. The binary is kept, by version, in
# ${XDG_CACHE_HOME:-~/.cache}/ipfs-kit-peers.
set -euo pipefail

version=v0.42.0
place="${XDG_CACHE_HOME:-$HOME/.cache}/ipfs-kit-peers/kubo-$version"
if [ ! -x "$place/ipfs" ]; then
  # Kubo's own go.mod has replacements, which `go install` of a version refuses; a module around it does not.
  build=$(mktemp -d)
  trap 'chmod -R u+w "$build"; rm -rf "$build"' EXIT
  cd "$build"
  {
    go mod init kubo-wrapper
    printf '//go:build tools\n\npackage tools\n\nimport _ "github.com/ipfs/kubo/cmd/ipfs"\n' >tools.go
    go mod edit -require "github.com/ipfs/kubo@$version"
    mkdir -p "$place"
    GOFLAGS=-mod=mod go build -o "$place/ipfs.new" github.com/ipfs/kubo/cmd/ipfs
    mv "$place/ipfs.new" "$place/ipfs"
  } >&2
fi
echo "$place/ipfs"
