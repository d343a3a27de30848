#!/bin/sh
# Fails when modules use each other in a circle, where cargo-modules is installed, but for those of circles.txt. Its own `--acyclic` is
# of no use here: to it a type and a function of that type that gives one are a circle.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/../..}"

if ! cargo modules --version >/dev/null 2>&1; then
	echo "cargo-modules is not installed: circles of modules were not looked for (\`cargo install cargo-modules\`)"
	exit 0
fi
edges=$(mktemp)
trap 'rm -f "$edges"' EXIT
for crate in cursus $(sed -n 's/^name = "\(.*\)"/\1/p' crates/*/Cargo.toml); do
	cargo modules dependencies --package "$crate" --lib --no-externs --no-sysroot --no-fns --no-traits --no-types --no-owns 2>/dev/null
done | sed -n 's/^ *"\([^"]*\)" -> "\([^"]*\)".*label="uses".*/\1 \2/p' >"$edges"
[ -s "$edges" ] || { echo "\`cargo modules\` shows no module that uses another: this check reads it no more"; exit 1; }

awk -v known="$here/circles.txt" '
BEGIN { while ((getline line < known) > 0) if (line !~ /^#/) waits[line] = 1 }
{ uses[$1] = uses[$1] " " $2 }
function reach(from, at,  list, count, i) {
	count = split(uses[at], list, " ")
	for (i = 1; i <= count; i++) if (!((from, list[i]) in reached)) { reached[from, list[i]] = 1; reach(from, list[i]) }
}
END {
	for (one in uses) reach(one, one)
	for (one in uses) if ((one, one) in reached) {
		circle[one] = 1
		if (one in waits) { pending++; continue }
		failed = 1
		printf "%s uses itself by way of", one
		for (other in uses) if (other != one && (one, other) in reached && (other, one) in reached) printf " %s", other
		print ""
	}
	for (one in waits) if (!(one in circle)) printf "%s is in no circle: take it out of scripts/lint/circles.txt\n", one
	if (pending) printf "modules in circles: %d (pending)\n", pending
	exit failed
}' "$edges"
