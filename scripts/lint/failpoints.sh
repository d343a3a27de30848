#!/bin/sh
# The product is built without the feature `failpoints`, with which it reads variables of the tests. `make dist` looks into the binary too.
set -eu
cd "$(dirname "$0")/../.."
features() { cargo tree --locked --edges normal,features --package cursus --invert cursus-base "$@" | grep 'cursus-base feature "failpoints"'; }
if ! features --features failpoints >/dev/null; then
	echo "cargo tree does not show the feature \`failpoints\` of cursus-base where it is on: this check finds nothing" >&2
	exit 1
fi
if features; then
	echo "the feature \`failpoints\` of cursus-base is on without being asked for: only dev-dependencies may turn it on" >&2
	exit 1
fi
