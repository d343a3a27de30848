#!/bin/sh
# Fails when docs/dependencies.md does not list what the manifests name, when a dependency is under no licence of deny.toml or from
# elsewhere than the registry (as `make deny`, which is not installed everywhere), and when the product needs the simulator to be built.
set -eu
cd "${1:-$(dirname "$0")/../..}"
failed=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tree="cargo tree --locked --prefix none"

$tree --workspace --all-features --target all --edges normal,build,dev --depth 1 --no-dedupe --format '{p}' |
	grep -v '(/' | sed 's/ .*//' | grep . | sort -u >"$scratch/used"
sed -n 's/^| \([a-z][^|]*\) |.*/\1/p' docs/dependencies.md | grep -v '^crate$' | tr ',' '\n' |
	sed 's/^ *//; s/ .*//' | grep . | sort -u >"$scratch/listed"
if ! diff "$scratch/listed" "$scratch/used" >"$scratch/differ"; then
	sed -n 's/^< \(.*\)/docs\/dependencies.md: `\1` is not used/p; s/^> \(.*\)/docs\/dependencies.md: `\1` is not listed/p' "$scratch/differ"
	failed=1
fi

$tree --workspace --edges normal,build,dev --target x86_64-unknown-linux-gnu --format '{p}	{l}' | sed 's/ (\*)$//' | sort -u >"$scratch/licences"
awk -F '\t' '
NR == FNR {
	if ($0 ~ /^allow *=/) { line = $0; while (match(line, /"[^"]+"/)) { allowed[substr(line, RSTART + 1, RLENGTH - 2)] = 1; line = substr(line, RSTART + RLENGTH) } }
	next
}
!/^[a-z]/ || $1 ~ /\(\// { next }
{
	seen++
	if ($1 ~ /\(http/) { printf "%s is not from the registry\n", $1; failed = 1 }
	licence = $2
	gsub(/\//, " OR ", licence)
	gsub(/[()]/, "", licence)
	count = split(licence, all, " AND ")
	for (i = 1; i <= count; i++) {
		free = 0
		choices = split(all[i], any, " OR ")
		for (j = 1; j <= choices; j++) free = free || (any[j] in allowed)
		if (!free) { printf "%s is under %s, which deny.toml does not allow\n", $1, $2; failed = 1 }
	}
	if (!count) { printf "%s names no licence\n", $1; failed = 1 }
}
END {
	if (seen < 10) { print "`cargo tree` shows no dependencies: this check reads it no more"; failed = 1 }
	exit failed
}' deny.toml "$scratch/licences" || failed=1

$tree --package cursus --edges normal | grep -q "^cursus-simulator " || { echo "with the simulator there is no cursus-simulator: this check reads \`cargo tree\` no more"; failed=1; }
! $tree --package cursus --edges normal --no-default-features | grep "^cursus-simulator " || { echo "the product needs cursus-simulator without the feature \`simulator\`"; failed=1; }
exit $failed
