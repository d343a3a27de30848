#!/bin/sh
# Runs a command in a copy of a root directory that is thrown away afterwards: in-root.sh ROOT [FROM=TO]... -- COMMAND...
# FROM, of this machine, appears in the root as TO. Processes of the command end with it, and nothing is mounted outside. Needs root.
set -eu

if [ "${1:-}" != --mounted ]; then
    [ "$(id -u)" = 0 ] || { echo "a root directory can be entered by root only; run the command as root" >&2; exit 1; }
    copy=$(mktemp -d "$1.run.XXXXXX")
    trap 'rm -rf "$copy"' EXIT
    chmod 755 "$copy"
    unshare --mount --pid --ipc --uts --fork --kill-child --propagation private sh "$0" --mounted "$copy" "$@"
    exit
fi

copy=$2 root=$3
shift 3
mkdir "$copy/upper" "$copy/work" "$copy/root"
# Without overlayfs the copy is one.
if mount -t overlay overlay -o "lowerdir=$root,upperdir=$copy/upper,workdir=$copy/work" "$copy/root" 2>/dev/null; then
    :
else
    cp -a "$root/." "$copy/root"
    mount --bind "$copy/root" "$copy/root"
fi
root=$copy/root
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in full null random tty urandom zero; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
while [ "$1" != -- ]; do
    mkdir -p "$root${1#*=}"
    mount --bind "${1%%=*}" "$root${1#*=}"
    shift
done
shift
[ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/resolv.conf"
# As the first process of its namespace it would not get its signals, and nobody would wait for orphans.
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+"http_proxy=$http_proxy"} chroot "$root" "$@" </dev/null
