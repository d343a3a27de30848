#!/bin/sh
# Python packages for tests, in a directory of their own below target: `python.sh NAME PACKAGE=VERSION...` installs what is missing and prints
# the directory of their programs. Fails with a sentence where there is no Python, or pip cannot bring them.
set -eu

cd "$(dirname "$0")/.."
name=$1
shift
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/python"
home=$(cd "$target/python" && pwd)/$name
say() { printf '%s\n' "$*" >&2; }

if [ "$(cat "$home/installed" 2>/dev/null)" != "$*" ]; then
	rm -rf "$home"
	if ! python3 -m venv "$home" >&2; then
		say "This machine lacks python3 with venv, which brings $*; an administrator installs python3-venv."
		exit 1
	fi
	say "Installing $* ..."
	if ! "$home/bin/pip" install --quiet --disable-pip-version-check "$@" >&2; then
		say "pip could not bring $*; the reason is above."
		exit 1
	fi
	echo "$*" >"$home/installed"
fi
echo "$home/bin"
