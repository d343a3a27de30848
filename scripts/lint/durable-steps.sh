#!/bin/sh
# Fails when the product has another step of the disk or the database than durable-steps.txt lists: each wants a failpoint (src/failpoint.rs)
# and a kill (tests/killed.rs).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/../..}"

find src crates -name '*.rs' ! -path '*test*' ! -path 'crates/simulator/*' | sort | awk -v known="$here/durable-steps.txt" '
function count(text, step,  n, at) {
	while ((at = index(text, step)) > 0) { n++; text = substr(text, at + length(step)) }
	return n + 0
}
BEGIN {
	FS = "\t"
	steps = split("fs::rename(|fs::remove_dir_all(|fs::remove_file(|renameat(|unlinkat(|.commit()", step, "|")
	while ((getline line < known) > 0) if (line !~ /^#/) {
		split(line, part, "\t")
		expected[part[1] "\t" part[2]] = part[3]
	}
}
{
	path = $0
	while ((getline line < path) > 0 && line !~ /#\[cfg\(test\)\]/) {
		# This one asks for the state of a commit.
		gsub(/sessions\(\)\.commit\(\)/, "", line)
		for (i = 1; i <= steps; i++) if (n = count(line, step[i])) found[path "\t" step[i]] += n
	}
	close(path)
}
END {
	for (place in found) if (found[place] != expected[place]) {
		split(place, part, "\t")
		printf "%s: %d of `%s`, %d in scripts/lint/durable-steps.txt: a new step wants a failpoint and a kill\n", part[1], found[place], part[2], expected[place]
		failed = 1
	}
	for (place in expected) if (!(place in found)) {
		split(place, part, "\t")
		printf "%s: no `%s` any more: take it out of scripts/lint/durable-steps.txt\n", part[1], part[2]
		failed = 1
	}
	exit failed
}'
