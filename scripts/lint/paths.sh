#!/bin/sh
# Fails on paths that docs/architecture.md and docs/decisions name and that do not exist, from the root or from src/.
set -eu
cd "${1:-$(dirname "$0")/../..}"

named=$(grep -on '`[A-Za-z0-9_.-][A-Za-z0-9_./-]*`' docs/architecture.md docs/decisions/*.md | tr -d '`' |
	grep -E ':[^:]*/[^:]*$|\.(rs|sh|sql|toml|md)$' | grep -v ':\.cursus')
[ -n "$named" ] || { echo "no path is named: this check reads docs/architecture.md no more"; exit 1; }
failed=0
for place in $named; do
	path=${place##*:}
	[ -e "$path" ] || [ -e "src/$path" ] || { echo "${place%:*}: there is no $path"; failed=1; }
done
exit $failed
