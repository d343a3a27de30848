#!/bin/sh
# A binary without the feature `failpoints` reads none of the variables that tests set, in any profile.
# What is given is for cargo: sh scripts/check-failpoints.sh --profile dist
set -eu
cd "$(dirname "$0")/.."
binary=$(cargo build --locked --message-format json "$@" | sed -n 's/.*"executable":"\([^"]*\/cursus\)".*/\1/p')
# It can be read at all: one that every binary reads is in it.
grep -q CURSUS_LOG "$binary"
for variable in CURSUS_FAILPOINT CURSUS_CLOCK; do
	if grep -q "$variable" "$binary"; then
		echo "$binary reads $variable: the feature \`failpoints\` is on" >&2
		exit 1
	fi
done
