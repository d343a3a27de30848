#!/bin/sh
# Makes a minimal Debian below target/roots (or $DEBIAN_ROOTS), once, and prints its directory: debian-root.sh SUITE [PACKAGE,PACKAGE].
# Needs root.
set -eu

suite=$1
packages=${2:-}
roots=${DEBIAN_ROOTS:-$(cd "$(dirname "$0")/.." && pwd)/target/roots}
root=$roots/$suite${packages:+-$packages}
# Where debootstrap finds no mirror by itself: DEBIAN_MIRROR=http://…
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

if [ ! -e "$root/etc/debian_version" ]; then
    PATH=$PATH:/usr/sbin:/sbin
    [ "$(id -u)" = 0 ] || { echo "a Debian root can be made by root only; run the command as root" >&2; exit 1; }
    command -v debootstrap >/dev/null || { echo "debootstrap is missing; \`apt-get install debootstrap\`" >&2; exit 1; }
    # Aside first: what is cut off leaves nothing half there.
    mkdir -p "$roots"
    aside=$(mktemp -d "$roots/new.XXXXXX")
    trap 'rm -rf "$aside"' EXIT
    chmod 755 "$aside"
    debootstrap --variant=minbase ${packages:+"--include=$packages"} "$suite" "$aside" "$mirror" >&2
    # No service starts in a root.
    printf '#!/bin/sh\nexit 101\n' >"$aside/usr/sbin/policy-rc.d"
    chmod 755 "$aside/usr/sbin/policy-rc.d"
    mv "$aside" "$root"
fi
echo "$root"
