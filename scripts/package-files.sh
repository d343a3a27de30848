#!/bin/sh
# Writes into target/package what goes into packages beside the binary: package-files.sh BINARY. Man pages, completions, the licences of
# what is compiled in, and Debian's changelog. With SOURCE_DATE_EPOCH the same source gives the same files.
set -eu

binary=$1
cd "$(dirname "$0")/.."
files=target/package
rm -rf "$files"
mkdir -p "$files/completions"

cargo run --quiet --locked --example manual -- "$files/man"

"$binary" completions bash >"$files/completions/cursus"
"$binary" completions zsh >"$files/completions/_cursus"
"$binary" completions fish >"$files/completions/cursus.fish"

# NAME|VERSION|LICENCE of each crate that is compiled in.
cargo tree --quiet --locked --package cursus --target x86_64-unknown-linux-gnu --edges normal --no-dedupe --prefix none --format '{p}|{l}' |
    grep -v '(/' | sed 's/ (proc-macro)//; s/ v/|/' | LC_ALL=C sort -u >"$files/crates"
[ -s "$files/crates" ] || { echo "cargo tree names no crate" >&2; exit 1; }

# Each text is there once, after the names of all crates that have it word by word.
sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
while IFS='|' read -r name version licence; do
    found=
    for text in "$sources"/*/"$name-$version"/*; do
        case "${text##*/}" in LICEN[CS]E* | COPYING* | COPYRIGHT* | NOTICE* | UNLICENSE*) ;; *) continue ;; esac
        found=1
        printf '%s|%s %s, %s (%s)|%s\n' "$(sha256sum <"$text" | cut -c 1-64)" "$name" "$version" "${text##*/}" "$licence" "$text"
    done
    [ -n "$found" ] || printf '%064d|%s %s, which has no text of its licence (%s)|\n' 0 "$name" "$version" "$licence"
done <"$files/crates" >"$files/texts"
{
    echo "The software that is compiled into cursus, under these licences."
    LC_ALL=C sort "$files/texts" | awk -F'|' '
        function copy(  line) { if (text == "") return; print ""; while ((getline line < text) > 0) print line; close(text) }
        $1 != hash { copy(); hash = $1; print "\n" rule "\n" }
        { print $2; text = $3 }
        BEGIN { rule = sprintf("%80s", ""); gsub(/ /, "=", rule) }
        END { copy() }'
} | gzip -9n >"$files/THIRD-PARTY.gz"
rm "$files/texts"

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
maintainer=$(sed -n '/^\[package.metadata.deb\]/,/^$/s/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
cat >"$files/changelog.Debian" <<CHANGELOG
cursus ($version-1) unstable; urgency=medium

  * Release $version: /usr/share/doc/cursus/changelog.gz says what is new.

 -- $maintainer  $(LC_ALL=C date --utc --rfc-email --date "@${SOURCE_DATE_EPOCH:-$(date +%s)}")
CHANGELOG
