#!/bin/sh
# Fails on tests whose names are longer than 60 characters, and on tests that docs/reliability.md names and nobody has.
set -eu
cd "${1:-$(dirname "$0")/../..}"

find src tests crates scripts -name '*.rs' 2>/dev/null | sort | awk '
function look(path,  line, name, module, is_test) {
	module = path
	sub(/.*\//, "", module)
	sub(/\.rs$/, "", module)
	while ((getline line < path) > 0) {
		if (line ~ /^[ \t]*#\[(tokio::)?test[\](]/) is_test = 1
		if (!is_test || !match(line, /fn [a-z0-9_]+/)) continue
		is_test = 0
		name = substr(line, RSTART + 3, RLENGTH - 3)
		tests[name] = tests[module] = 1
		if (length(name) <= 60) continue
		printf "%s: %d characters, at most 60: %s\n", path, length(name), name
		failed = 1
	}
	close(path)
}
{ look($0) }
END {
	paper = "docs/reliability.md"
	while ((getline line < paper) > 0) {
		# In a table the test is in the last column; in prose columns and commands have shorter names.
		is_row = sub(/^\|/, "", line)
		if (is_row) { sub(/\|[ \t]*$/, "", line); sub(/.*\|/, "", line) }
		count = split(line, part, "`")
		for (i = 2; i < count; i += 2) {
			name = part[i]
			if (name !~ /^[a-z0-9_]+$/ || (!is_row && name !~ /_.*_/)) continue
			named++
			if (!(name in tests)) { printf "%s: there is no test `%s`\n", paper, name; failed = 1 }
		}
	}
	if (named < 30) { printf "%s: only %d tests are named: its form has changed, and this check reads it no more\n", paper, named; failed = 1 }
	exit failed
}'
