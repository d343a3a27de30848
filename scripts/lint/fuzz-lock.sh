#!/bin/sh
# Fails when fuzz/Cargo.lock is not what its manifests ask for: a dependency of the product that comes or goes changes it too.
set -eu
cd "${1:-$(dirname "$0")/../..}"
why=$(cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml 2>&1 >/dev/null) && exit
printf '%s\n' "$why" 'fuzz/Cargo.lock is not up to date; `cargo metadata --manifest-path fuzz/Cargo.toml` makes it so'
exit 1
