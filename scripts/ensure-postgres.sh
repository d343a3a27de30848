#!/bin/sh
# Installs PostgreSQL's server programs with the system's package manager, unless there are some or CURSUS_DATABASE_URL names a server.
set -eu

[ -z "${CURSUS_DATABASE_URL:-}" ] || exit 0

complete() { [ -x "$1/initdb" ] && [ -x "$1/postgres" ]; }

if [ -n "${CURSUS_PG_BIN:-}" ]; then
    complete "$CURSUS_PG_BIN" && exit 0
    echo "CURSUS_PG_BIN=$CURSUS_PG_BIN holds no initdb and postgres; correct it, or unset it." >&2
    exit 1
fi

IFS=:
for dir in $PATH; do complete "$dir" && exit 0; done
unset IFS
for dir in /usr/lib/postgresql/*/bin /usr/libexec/postgresql*/ /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
    /home/linuxbrew/.linuxbrew/opt/postgresql@*/bin /usr/pgsql-*/bin \
    /Applications/Postgres.app/Contents/Versions/latest/bin "$(pg_config --bindir 2>/dev/null || true)"; do
    complete "$dir" && exit 0
done

as_root=
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null; then as_root=sudo; fi
fi
echo "Installing PostgreSQL's server programs (no service of it is needed) ..." >&2
if command -v apt-get >/dev/null; then
    $as_root apt-get update -q
    # Debian would also make and start a cluster of the system's own; ours is private.
    only_programs=/etc/postgresql-common/createcluster.d/cursus.conf
    $as_root mkdir -p "${only_programs%/*}"
    echo "create_main_cluster = false" | $as_root tee "$only_programs" >/dev/null
    status=0
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql || status=$?
    $as_root rm -f "$only_programs"
    exit "$status"
elif command -v dnf >/dev/null; then $as_root dnf install -y postgresql-server
elif command -v apk >/dev/null; then $as_root apk add postgresql
elif command -v pacman >/dev/null; then $as_root pacman -S --noconfirm --needed postgresql
elif command -v brew >/dev/null; then brew install postgresql@17
else
    echo "No package manager that we know. Install PostgreSQL 14 or newer, or set CURSUS_PG_BIN or CURSUS_DATABASE_URL." >&2
    exit 1
fi
