#!/bin/sh
# The pages of `cursus serve` in a real browser: `browser.sh test` tries them, `browser.sh screenshots` makes the pictures of docs/, `browser.sh
# ready` only says whether it can. CURSUS names the program; without it, it is built.
# Brings Chromium, Node.js and the packages of tests/browser where they are missing and may be installed.
set -eu

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
say() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

find_browser() {
	for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
		[ -n "$name" ] && has "$name" && CHROMIUM=$(command -v "$name") && export CHROMIUM && return 0
	done
	return 1
}

lacks=''
find_browser || lacks=chromium
has node && has npm || lacks="${lacks:+$lacks }nodejs npm"
if [ -n "$lacks" ]; then
	if [ "$(id -u)" = 0 ] && has apt-get; then
		say "Installing $lacks ..."
		# shellcheck disable=SC2086 # packages are words
		apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $lacks >&2
		find_browser || true
	fi
	if [ -z "${CHROMIUM:-}" ] || ! has npm; then
		say "This machine lacks $lacks, which the pages are tried with; an administrator installs them, or CHROMIUM names a browser."
		exit 1
	fi
fi

[ "${1:-test}" != ready ] || exit 0

folder="$target/browser"
mkdir -p "$folder"
cp tests/browser/*.mjs tests/browser/package.json tests/browser/package-lock.json "$folder/"
(cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts)

if [ -z "${CURSUS:-}" ]; then
	cargo build --locked
	CURSUS=$(cd "$target" && pwd)/debug/cursus
fi
export CURSUS
case "${1:-test}" in
test)
	SCREENSHOTS=$(cd "$target" && pwd)/screenshots
	export SCREENSHOTS
	rm -rf "$SCREENSHOTS"
	node --test "$folder/pages.test.mjs"
	say "screenshots are in $SCREENSHOTS"
	;;
screenshots)
	mkdir -p docs/screenshots
	node "$folder/screenshots.mjs" "$PWD/docs/screenshots"
	;;
*)
	say "usage: browser.sh test|screenshots|ready"
	exit 2
	;;
esac
