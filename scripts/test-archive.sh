#!/bin/sh
# Unpacks an archive of build-archive.sh in a Debian 11 and uses the binary there: test-archive.sh ARCHIVE. Needs root and debootstrap.
set -eu

scripts=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" != --inside ]; then
    [ -f "${1:-}" ] || { echo "there is no archive ${1:-}; \`make archive\` builds one" >&2; exit 1; }
    archive=$(realpath "$1")
    (cd "${archive%/*}" && sha256sum --check "${archive##*/}.sha256")
    # Debian 11 has PostgreSQL 13, which is too old.
    programs=$(sh "$scripts/fetch-postgres.sh" 17)
    root=$(sh "$scripts/debian-root.sh" bullseye gcc,libc6-dev)
    sh "$scripts/in-root.sh" "$root" "$scripts=/scripts" "${archive%/*}=/archive" "${programs%/bin}=/postgres" -- sh /scripts/test-archive.sh --inside "/archive/${archive##*/}"
    exit
fi

as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups env -i PATH=/usr/bin:/bin HOME=/home/mirror LANG=C.UTF-8 CURSUS_PG_BIN=/postgres/bin "$@"; }
. /etc/os-release
echo "$PRETTY_NAME, $(ldd --version | head -n 1)"
apt-get -q update >/dev/null
apt-get -q -y install --no-install-recommends ca-certificates >/dev/null 2>&1
useradd --uid 1000 --create-home mirror
mkdir /tmp/unpacked
tar -xzf "$2" -C /tmp/unpacked --strip-components 1
install -m 755 /tmp/unpacked/cursus /usr/bin/cursus
cd /home/mirror
as_user cursus --version
as_user sh -c 'echo $$ >/tmp/simulator && exec cursus simulate --students 20 --memberships 2000 --rate 100 --hourly 100000' >/tmp/simulated 2>/tmp/complaints &
timeout 60 sh -c "until grep -q SECRET /tmp/simulated; do sleep 0.1; done" || { cat /tmp/complaints >&2; exit 1; }
as_user cursus init
as_user tee .env </tmp/simulated >/dev/null
as_user cursus run >/tmp/run 2>&1 || { cat /tmp/run >&2; exit 1; }
tail -n 1 /tmp/run
students=$(as_user cursus sql --csv "SELECT COUNT(*) FROM users WHERE kind = 'student'" | tail -n 1)
as_user cursus stage verify latest
kill "$(cat /tmp/simulator)"
wait
[ "$students" -gt 0 ] || { echo "no student is mirrored" >&2; exit 1; }
echo "$students students are mirrored, by the archive's binary, on this old system"
