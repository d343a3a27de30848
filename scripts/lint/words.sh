#!/bin/sh
# Fails on words of words.txt in names, comments, messages and papers.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/../..}"

# Applied migrations never change: those up to these numbers are passed over.
applied="books=8 mirror=3"

find src crates sql migrations docs tests benches fuzz scripts .ci README.md CONTRIBUTING.md CHANGELOG.md Makefile pipeline.toml \
	-path '*/target' -prune -o -path scripts/lint -prune -o -type f \
	\( -name '*.rs' -o -name '*.sql' -o -name '*.md' -o -name '*.sh' -o -name '*.toml' -o -name '*.snap' -o -name Makefile -o -path '.ci/*' \) \
	-print 2>/dev/null | sort | awk -v words="$here/words.txt" -v allowed="$here/allowed.txt" -v applied="$applied" '
function is_applied(path,  part, set, n) {
	if (split(path, part, "/") != 3 || part[1] != "migrations") return 0
	n = split(applied, sets, " ")
	for (i = 1; i <= n; i++) {
		split(sets[i], set, "=")
		if (part[2] == set[1] && substr(part[3], 2) + 0 <= set[2] + 0) return 1
	}
	return 0
}
function look(path, place, line,  text, i) {
	text = line
	for (i = 1; i <= exceptions; i++) if (path ~ where[i]) gsub(excepted[i], " ", text)
	while (match(text, /[a-z0-9][A-Z]/)) text = substr(text, 1, RSTART) " " substr(text, RSTART + 1)
	text = " " tolower(text) " "
	gsub(/[_\t]/, " ", text)
	if (text !~ any) return
	for (i = 1; i <= count; i++) if (text ~ regex[i]) {
		failed = 1
		sub(/^[ \t]+/, "", line)
		printf "%s: write %s: %s\n", place, instead[i], substr(line, 1, 120)
	}
}
BEGIN {
	FS = "\t"
	while ((getline rule < words) > 0) if (rule !~ /^#/) {
		split(rule, part, "\t")
		regex[++count] = "[^a-z](" part[1] ")[^a-z]"
		instead[count] = part[2]
		any = any (any ? "|" : "") regex[count]
	}
	while ((getline rule < allowed) > 0) if (rule !~ /^#/) {
		split(rule, part, "\t")
		where[++exceptions] = part[1]
		excepted[exceptions] = part[2]
	}
}
{
	path = $0
	if (is_applied(path)) next
	look(path, path, path)
	number = 0
	while ((getline line < path) > 0) look(path, path ":" (++number), line)
	close(path)
}
END { exit failed }'
