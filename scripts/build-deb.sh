#!/bin/sh
# Makes the Debian package and prints its path: build-deb.sh [TARGET_DIRECTORY]. With a directory, the binary is the one that build-archive.sh made
# there; without, it is built for this system. Needs cargo-deb.
set -eu

cd "$(dirname "$0")/.."
command -v cargo-deb >/dev/null || { echo "cargo-deb is missing; \`cargo install cargo-deb\`" >&2; exit 1; }
if [ $# = 0 ]; then
    sh scripts/check-failpoints.sh --profile dist >&2
fi
target=${1:-${CARGO_TARGET_DIR:-target}}
sh scripts/package-files.sh "$target/dist/cursus"
mkdir -p target/debian
CARGO_TARGET_DIR=$target cargo deb --locked --no-build --quiet ${1:+--variant portable} --output target/debian/
