#!/bin/sh
# Fails when modules of a crate use each other in a circle, where cargo-modules is installed.
set -eu
cd "${1:-$(dirname "$0")/../..}"

if ! cargo modules --version >/dev/null 2>&1; then
	echo "cargo-modules is not installed: circles of modules were not looked for (\`cargo install cargo-modules\`)"
	exit 0
fi
failed=0
for crate in cursus $(sed -n 's/^name = "\(.*\)"/\1/p' crates/*/Cargo.toml); do
	cargo modules dependencies --package "$crate" --lib --acyclic --no-externs --no-sysroot --no-fns --no-traits --no-types --no-owns \
		>/dev/null || { echo "$crate: modules use each other in a circle"; failed=1; }
done
exit $failed
