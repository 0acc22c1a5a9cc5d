#!/usr/bin/env bash
# Follows docs/operate.md on clean Debian systems: every machine of the page is a Debian root of its own
# with systemd as its first process and an address of its own, on a switch inside this machine. Every block of
# the page that names a machine is run on it, as it stands.
#
# Usage: tests/operate.sh [PACKAGE.tar.gz]        without one, packaging/build-release.sh makes it
#
# Needs root, debootstrap and iproute2, and some minutes; the Debian base is kept in /var/tmp for the next
# run. Not part of the ordinary tests. Ends with "1 passed, 0 failed" and status 0, or with the block that failed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
fail() {
  printf 'operate.sh: %s\n' "$1" >&2
  exit 1
}
[ "$(id -u)" -eq 0 ] || fail "this needs root"
for tool in debootstrap ip unshare nsenter; do
  command -v "$tool" >/dev/null || fail "$tool is missing (debootstrap, iproute2, util-linux)"
done

package=${1:-}
if [ -z "$package" ]; then
  say "the package"
  package=$(packaging/build-release.sh | tee /dev/stderr | sed -n 's/^\(dist\/[^:]*\.tar\.gz\): .*/\1/p')
fi
[ -e "$package.sha256" ] || fail "$package.sha256 is missing"

base=/var/tmp/ipfs-kit-operate-base
if [ ! -e "$base/complete" ]; then
  say "a Debian base in $base"
  rm -rf "$base"
  debootstrap --variant=minbase --include=systemd,nftables,curl,ca-certificates bookworm "$base/system" \
    >"$base.log" 2>&1 || fail "debootstrap failed; see $base.log"
  touch "$base/complete"
fi

work=$(mktemp -d)
bridge=ipfskit0
declare -A first_process address
cleanup() {
  for machine in "${!first_process[@]}"; do
    kill -KILL "${first_process[$machine]}" 2>/dev/null || true
  done
  wait
  ip link del "$bridge" 2>/dev/null || true
  for root in "$work"/*/system; do
    umount --recursive --lazy "$root" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
ip link add "$bridge" type bridge
ip link set "$bridge" up

# Prepares what a container manager prepares, and becomes the machine's first process.
cat >"$work/boot" <<'BOOT'
set -eu
root=$1 name=$2
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  touch "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
hostname "$name"
ip link set lo up
# Not chroot: the service's own mounts need a root that is one.
cd "$root"
pivot_root . mnt
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /bin/sh -c '
  umount --lazy /mnt
  exec /lib/systemd/systemd --log-target=console --log-level=warning --unit=multi-user.target'
BOOT

# Waits, at most so many seconds, until a command succeeds.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

# Runs a script on a machine, in a login-like shell that stops at the first failure.
on() {
  local machine=$1
  shift
  nsenter --target "${first_process[$machine]}" --all --root env -i --chdir=/srv HOME=/srv \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

is_up() { on "$1" systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; }

boot() {
  local machine=$1
  mkdir -p "$work/$machine"/{upper,scratch,system}
  mount -t overlay overlay "$work/$machine/system" \
    -o "lowerdir=$base/system,upperdir=$work/$machine/upper,workdir=$work/$machine/scratch"
  cp "$work/hosts" "$work/$machine/system/etc/hosts"
  cp "$package" "$package.sha256" "$work/$machine/system/srv/"
  unshare --pid --mount --net --uts --ipc --cgroup --fork --kill-child \
    bash "$work/boot" "$work/$machine/system" "$machine" >"$work/$machine/console" 2>&1 &
  local outer=$!
  until_true 10 pgrep --parent "$outer" >/dev/null || fail "$machine does not start"
  first_process[$machine]=$(pgrep --parent "$outer")
  local end=v-$machine
  ip link add "$end" type veth peer name eth0 netns "${first_process[$machine]}"
  ip link set "$end" master "$bridge" up
  nsenter --target "${first_process[$machine]}" --net ip address add "${address[$machine]}/24" dev eth0
  nsenter --target "${first_process[$machine]}" --net ip link set eth0 up
  until_true 60 is_up "$machine" || fail "$machine does not boot: $(tail -n 5 "$work/$machine/console")"
}

# The page's blocks as files: NUMBER.MACHINE in order; `every` ones apart.
mkdir "$work/blocks"
awk -v folder="$work/blocks" '
  /^```sh [a-z0-9]+$/ { file = sprintf("%s/%03d.%s", folder, ++count, $2); next }
  /^```$/ { file = "" }
  file { print > file }
' docs/operate.md

token=
run_block() {
  local machine=$1 block=$2 out=$work/out
  sed "s/\bTOKEN\b/$token/" "$block" >"$work/$machine/system/srv/block"
  printf '%s\n' "[$machine]" "$(cat "$block")"
  local login='[ ! -e /etc/profile.d/ipfs-kit.sh ] || . /etc/profile.d/ipfs-kit.sh; . /srv/block'
  if ! on "$machine" bash -eu -c "$login" >"$out" 2>&1; then
    cat "$out"
    on "$machine" systemctl status --no-pager --full --lines 30 ipfs-kit || true
    on "$machine" journalctl --sync || true
    on "$machine" journalctl --no-pager --lines 30 --unit ipfs-kit || true
    tail -n 20 "$work/$machine/console"
    fail "this block failed on $machine"
  fi
  token=$(grep -o '^ipfskit1[a-z2-7]*$' "$out" | tail -n 1 || true)
  sed -e 's/ipfskit1[a-z2-7]*/ipfskit1…/' -e 's/^/    /' "$out" | tail -n 25
}

# Every machine knows every name of the page before the first of them asks for it.
echo 127.0.0.1 localhost >"$work/hosts"
host=10
for block in "$work"/blocks/*; do
  machine=${block##*.}
  if [ "$machine" != every ] && [ -z "${address[$machine]:-}" ]; then
    host=$((host + 1))
    address[$machine]=10.77.0.$host
    echo "${address[$machine]} $machine.example" >>"$work/hosts"
  fi
done

count=0
for block in "$work"/blocks/*; do
  machine=${block##*.}
  [ "$machine" != every ] || continue
  if [ -z "${first_process[$machine]:-}" ]; then
    say "machine $machine"
    boot "$machine"
    kept=$token
    for first in "$work"/blocks/*.every; do
      run_block "$machine" "$first"
    done
    token=$kept
  fi
  run_block "$machine" "$block"
  count=$((count + 1))
done

say "what must be so"
# The package installs without a Rust toolchain: the machines have none.
on m1 bash -c '! command -v cargo && ! command -v rustc'
on m1 systemctl is-active ipfs-kit
complaints=$(on m1 systemd-analyze verify --man=no ipfs-kit.service 2>&1)
[ -z "$complaints" ] || fail "systemd-analyze verify: $complaints"
score=$(on m1 systemd-analyze security --no-pager ipfs-kit.service | tail -n 1)
echo "$score"
[ ! -e "$work/w1/system/usr/local/bin/ipfs-kit" ] || fail "uninstalling left the program"
[ ! -e "$work/w1/system/var/lib/ipfs-kit" ] || fail "--purge left the folder"
[ -e "$work/w2/system/var/lib/ipfs-kit/identity.key" ] || fail "uninstalling took the keys"
# An error that no restart mends is not tried again.
on m3 systemctl stop ipfs-kit
chmod 644 "$work/m3/system/var/lib/ipfs-kit/identity.key"
on m3 systemctl start ipfs-kit && fail "secrets that are open to others were accepted"
[ "$(on m3 systemctl show --property NRestarts --value ipfs-kit)" = 0 ] || fail "it was started again"
chmod 600 "$work/m3/system/var/lib/ipfs-kit/identity.key"
# A node that is killed comes back by itself.
on m3 systemctl start ipfs-kit
on m3 systemctl kill --kill-who=main --signal=KILL ipfs-kit
came_back() {
  [ "$(on m3 systemctl show --property NRestarts --value ipfs-kit)" = 1 ] \
    && on m3 systemctl is-active --quiet ipfs-kit
}
until_true 60 came_back || fail "a killed node did not come back"

printf '\n%s blocks on %s machines in %s s\n1 passed, 0 failed\n' "$count" "${#first_process[@]}" "$SECONDS"
