#!/bin/sh
# Installs ipfs-kit from the unpacked release that this script lies in: program, manual pages, shell
# completions, and where systemd is, a user and a service. Starts nothing. Run again with a newer release,
# it replaces the older one; a node's folder is never touched.
#
# Usage: install.sh [--prefix DIR]      DIR is /usr/local unless said otherwise
set -eu

prefix=/usr/local
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) prefix=${2:?"--prefix needs a folder"}; shift 2 ;;
    -h|--help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "install.sh: $1 is not understood; see --help" >&2; exit 2 ;;
  esac
done
case $prefix in
  /*) ;;
  *) echo "install.sh: $prefix is no absolute path" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"

echo "checking the release"
sha256sum --check --quiet --strict SHA256SUMS
./bin/ipfs-kit version >/dev/null || {
  echo "install.sh: the program does not run here; it was built for $(cat PLATFORM)" >&2
  exit 1
}

install -D -m 0755 bin/ipfs-kit "$prefix/bin/ipfs-kit"
for page in man/*.1; do
  install -D -m 0644 "$page" "$prefix/share/man/man1/${page#man/}"
done
install -D -m 0644 completions/ipfs-kit.bash "$prefix/share/bash-completion/completions/ipfs-kit"
install -D -m 0644 completions/_ipfs-kit "$prefix/share/zsh/site-functions/_ipfs-kit"
install -D -m 0644 completions/ipfs-kit.fish "$prefix/share/fish/vendor_completions.d/ipfs-kit.fish"
install -D -m 0644 docs/operate.md "$prefix/share/doc/ipfs-kit/operate.md"
install -D -m 0755 uninstall.sh "$prefix/share/ipfs-kit/uninstall.sh"
echo "installed $("$prefix/bin/ipfs-kit" version | head -n 1) below $prefix"

if [ "$(id -u)" -ne 0 ] || ! command -v systemctl >/dev/null; then
  echo "no service: that needs root and systemd; run ipfs-kit up under the service manager you have"
  exit 0
fi
if ! getent passwd ipfs-kit >/dev/null; then
  useradd --system --user-group --home-dir /var/lib/ipfs-kit --no-create-home \
    --shell /usr/sbin/nologin --comment "ipfs-kit node" ipfs-kit
  echo "made the user ipfs-kit"
fi
install -d -m 0700 -o ipfs-kit -g ipfs-kit /var/lib/ipfs-kit
sed "s|^ExecStart=/usr/local/bin/|ExecStart=$prefix/bin/|" ipfs-kit.service \
  | install -D -m 0644 /dev/stdin /etc/systemd/system/ipfs-kit.service
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
cat <<'NEXT'
next, as root:
  runuser -u ipfs-kit -- ipfs-kit --folder /var/lib/ipfs-kit init --help
  systemctl enable --now ipfs-kit
NEXT
