#!/bin/sh
# Installs a Debian package in a fresh Debian 12 (or SUITE), uses it as an administrator would, and removes it: test-deb.sh PACKAGE.deb.
# Needs root, debootstrap and Debian's mirror. Nothing outside of target/ changes.
set -eu

scripts=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" != --inside ]; then
    [ -f "${1:-}" ] || { echo "there is no package ${1:-}; \`make deb\` builds one" >&2; exit 1; }
    package=$(realpath "$1")
    root=$(sh "$scripts/debian-root.sh" "${SUITE:-bookworm}")
    work=$(mktemp -d "$root.debs.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    cp "$package" "$work/cursus.deb"
    # The same, and newer.
    dpkg-deb --raw-extract "$package" "$work/newer"
    sed -i 's/^Version: .*/&+newer/' "$work/newer/DEBIAN/control"
    dpkg-deb --root-owner-group --build -Znone "$work/newer" "$work/newer.deb" >/dev/null
    rm -r "$work/newer"
    # Packages that were fetched once.
    mkdir -p "$root.archives/partial"
    sh "$scripts/in-root.sh" "$root" "$scripts=/scripts" "$work=/debs" "$root.archives=/var/cache/apt/archives" -- sh /scripts/test-deb.sh --inside
    exit
fi

state=/var/lib/cursus
step() { printf '\n== %s\n' "$*"; }
fail() { echo "failed: $*" >&2; exit 1; }
as_cursus() { (cd "$state" && exec setpriv --reuid cursus --regid cursus --init-groups env -i PATH=/usr/bin:/bin HOME="$state" LANG=C.UTF-8 "$@"); }
run() { as_cursus cursus run >/tmp/run 2>&1 || { cat /tmp/run; fail "cursus run"; }; tail -n 1 /tmp/run; }
apt() { apt-get -q -y -o Dpkg::Use-Pty=0 "$@" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log >&2; fail "apt-get $*"; }; }
# All that is in the root, but what every installation changes: caches, logs and the lists of dpkg.
files() {
    find / -xdev \( -path /proc -o -path /dev -o -path /tmp -o -path /debs -o -path /scripts -o -path /var/cache -o -path /var/lib/apt -o -path /var/log -o \
        -path /var/lib/dpkg \) -prune -o ! -name '*-' -printf '%p %M %u:%g\n' | LC_ALL=C sort
}

step "a fresh $(. /etc/os-release && echo "$PRETTY_NAME"): install with all that is recommended, and man"
apt update
started=$(date +%s)
apt install /debs/cursus.deb man-db bash-completion systemd
echo "installed in $(($(date +%s) - started)) s: $(dpkg-query --show --showformat '${Package} ${Version}, ${Installed-Size} kB' cursus)"

step "the binary, its help, its pages, its completions"
cursus --version
cursus --help >/tmp/help || fail "cursus --help"
head -n 3 /tmp/help
cursus help | cmp - /tmp/help || fail "cursus help is not cursus --help"
cursus run --help >/tmp/help
cursus help run | cmp - /tmp/help || fail "cursus help run is not cursus run --help"
cursus --version >/tmp/version
cursus version | cmp - /tmp/version || fail "cursus version is not cursus --version"
# A minimal root leaves the pages of packages out.
dpkg-deb --fsys-tarfile /debs/cursus.deb | tar -x -C / ./usr/share/man ./usr/share/doc
man cursus | head -n 4
pages=$(dpkg-deb --contents /debs/cursus.deb | grep -c '/man1/.')
for page in /usr/share/man/man1/cursus*; do
    complaints=$(man --warnings --local-file "$page" 2>&1 >/tmp/page) || fail "man $page"
    [ -z "$complaints" ] && grep -q SYNOPSIS /tmp/page || fail "$page: $complaints"
done
echo "$pages pages without a complaint of man"
bash -c '. /usr/share/bash-completion/bash_completion && . /usr/share/bash-completion/completions/cursus && complete -p cursus' | grep -q cursus || fail "completions for bash"

step "the user, the directory, the units"
getent passwd cursus | grep "$state:/usr/sbin/nologin" || fail "the user"
mode=$(sed -n 's/^StateDirectoryMode=0//p' /usr/lib/systemd/system/cursus-run.service)
is_private() { [ "$(stat -c '%U:%G %a' "$state")" = "cursus:cursus $mode" ]; }
is_private || fail "$(stat -c '%U:%G %a' "$state") is not cursus:cursus $mode, as in the units"
! find /etc/systemd -name 'cursus*' | grep . || fail "a unit is enabled"
complaints=$(systemd-analyze verify /usr/lib/systemd/system/cursus-*.service /usr/lib/systemd/system/cursus-*.timer 2>&1) || true
! echo "$complaints" | grep -i cursus || fail "systemd-analyze verify"

step "a simulated campus, mirrored into the private PostgreSQL"
as_cursus sh -c 'echo $$ >/tmp/simulator && exec cursus simulate --students 20 --memberships 2000 --rate 100 --hourly 100000' >/tmp/simulated 2>/dev/null &
timeout 60 sh -c "until grep -q SECRET /tmp/simulated; do sleep 0.1; done" || fail "cursus simulate"
as_cursus cursus init
as_cursus tee .env </tmp/simulated >/dev/null
as_cursus cursus doctor
run
students() { as_cursus cursus sql --csv "SELECT COUNT(*) FROM users WHERE kind = 'student'" | tail -n 1; }
mirrored=$(students)
[ "$mirrored" -gt 0 ] || fail "no student is mirrored"
echo "$mirrored students"

step "upgrade"
apt install /debs/newer.deb
dpkg-query --show cursus | grep '+newer$' || fail "the newer version is not installed"
run
[ "$(students)" -ge "$mirrored" ] || fail "the upgrade lost students"
is_private || fail "the upgrade changed the directory"

step "remove, install again"
apt remove cursus
[ ! -e /usr/bin/cursus ] || fail "/usr/bin/cursus is still there"
apt install /debs/cursus.deb
[ "$(students)" -ge "$mirrored" ] || fail "the removal lost students"

step "purge: what the package did not bring is kept, and named"
files | sed 's/ .*//' | grep -v "^$state" >/tmp/with
apt purge cursus
grep '^cursus: ' /tmp/apt.log || fail "purge does not say what it keeps"
command=$(sed -n 's/^cursus: .*`\(.*\)`.*/\1/p' /tmp/apt.log)
[ -d "$state/staging" ] || fail "purge removed the mirror"
kill "$(cat /tmp/simulator)"
wait
sh -c "$command"
left=$(files | grep -i cursus) && fail "left over: $left"
! getent passwd cursus || fail "the user is left over"

step "install and purge without use: nothing is left"
files >/tmp/before
apt install /debs/cursus.deb
apt purge cursus
! grep '^cursus: ' /tmp/apt.log || fail "purge keeps something"
files >/tmp/after
diff /tmp/before /tmp/after || fail "an installation and a purge changed these files"
! getent passwd cursus || fail "the user is left over"
! getent group cursus || fail "the group is left over"
printf '\nthe package installs, works, upgrades, goes and leaves nothing behind\n'
