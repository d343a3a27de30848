#!/bin/sh
# Fails on source files of more than 500 lines, tests not counted.
set -eu
cd "${1:-$(dirname "$0")/../..}"

find src crates -name '*.rs' ! -path '*test*' | sort | awk '
{
	path = $0
	lines = 0
	while ((getline line < path) > 0 && line !~ /^#\[cfg\(test\)\]/) lines++
	close(path)
	if (lines > 500) { printf "%s: %d lines, at most 500\n", path, lines; failed = 1 }
}
END { exit failed }'
