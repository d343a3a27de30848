#!/bin/sh
# Prints what the tests counted (the files of a folder, each a number and a name), and fails when docs/reliability.md claims more of
# one, or does not name it.
set -eu
folder=$1
paper=${2:-$(dirname "$0")/../docs/reliability.md}

echo
echo "seen by these tests:"
if ! [ -d "$folder" ]; then
	echo "  nothing"
	exit 0
fi
cat "$folder"/*
cat "$folder"/* | awk -v paper="$paper" '
BEGIN {
	while ((getline line < paper) > 0) if (line ~ /^\| /) {
		split(substr(line, 3), part, / \| */)
		gsub(/,/, "", part[2])
		claimed[part[1]] = part[2] + 0
	}
}
{
	seen = $1
	sub(/^ *[0-9]+ /, "")
	if (!($0 in claimed)) { printf "%s has no row `| %s |`\n", paper, $0; failed = 1 }
	else if (claimed[$0] > seen) { printf "%s claims %d %s, and %d were seen\n", paper, claimed[$0], $0, seen; failed = 1 }
}
END { exit failed }' >&2
