#!/bin/sh
# Takes away what install.sh installed. A node's folder stays, with its keys and blocks; --purge removes
# that too, and the user ipfs-kit.
#
# Usage: uninstall.sh [--prefix DIR] [--purge]
set -eu

prefix=/usr/local
purge=no
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) prefix=${2:?"--prefix needs a folder"}; shift 2 ;;
    --purge) purge=yes; shift ;;
    -h|--help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "uninstall.sh: $1 is not understood; see --help" >&2; exit 2 ;;
  esac
done

unit=/etc/systemd/system/ipfs-kit.service
if [ -e "$unit" ]; then
  if [ -d /run/systemd/system ]; then
    systemctl disable --now ipfs-kit
  fi
  rm -f "$unit" /etc/systemd/system/multi-user.target.wants/ipfs-kit.service
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
  fi
fi
rm -f "$prefix/bin/ipfs-kit" "$prefix"/share/man/man1/ipfs-kit.1 "$prefix"/share/man/man1/ipfs-kit-*.1 \
  "$prefix/share/bash-completion/completions/ipfs-kit" "$prefix/share/zsh/site-functions/_ipfs-kit" \
  "$prefix/share/fish/vendor_completions.d/ipfs-kit.fish"
rm -rf "$prefix/share/doc/ipfs-kit" "$prefix/share/ipfs-kit"
echo "removed ipfs-kit from $prefix"
if [ "$purge" = yes ]; then
  rm -rf /var/lib/ipfs-kit
  if getent passwd ipfs-kit >/dev/null; then
    userdel ipfs-kit
  fi
  echo "removed /var/lib/ipfs-kit and the user ipfs-kit"
elif [ -d /var/lib/ipfs-kit ]; then
  echo "the node's folder /var/lib/ipfs-kit stays; --purge removes it"
fi
