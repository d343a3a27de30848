#!/bin/sh
# Builds the binary against the glibc of Debian 11 (2.31), so that it runs on every Linux that is younger than 2020, and packs it with man
# pages, completions, units and documentation: build-archive.sh. Prints the archive, target/archive/cursus-VERSION-MACHINE-linux.tar.gz, with its
# checksum beside it. The binary is target/portable/dist/cursus. Needs root and debootstrap; the compiler is this machine's.
set -eu

cd "$(dirname "$0")/.."
oldest=2.31
root=$(sh scripts/debian-root.sh bullseye gcc,libc6-dev)
cargo fetch --quiet --locked
# There is no Git in the root.
commit=${CURSUS_COMMIT-$(TZ=UTC git log -1 --abbrev=9 --date=format-local:%Y-%m-%d --format='%h %cd' 2>/dev/null || true)}

# Always in the same places, so that paths in the binary do not tell where it was built.
mkdir -p target/portable
sh scripts/in-root.sh "$root" "$PWD=/build" "$(rustc --print sysroot)=/rust" "${CARGO_HOME:-$HOME/.cargo}/registry=/cargo/registry" -- \
    env PATH=/rust/bin:/usr/bin:/bin CARGO_HOME=/cargo CARGO_TARGET_DIR=/build/target/portable CURSUS_COMMIT="$commit" \
    ${CARGO_BUILD_JOBS:+"CARGO_BUILD_JOBS=$CARGO_BUILD_JOBS"} sh /build/scripts/check-failpoints.sh --offline --profile dist >&2
binary=target/portable/dist/cursus

needed=$(objdump -T "$binary" | sed -n 's/.*(GLIBC_\([0-9.]*\)).*/\1/p' | sort -Vu | tail -n 1)
[ "$(printf '%s\n%s\n' "$needed" "$oldest" | sort -V | tail -n 1)" = "$oldest" ] || {
    echo "$binary needs glibc $needed, which is newer than $oldest" >&2
    exit 1
}
echo "$binary needs glibc $needed or newer" >&2

sh scripts/package-files.sh "$binary"
version=$("$binary" --version | cut -d ' ' -f 2)
name=cursus-$version-$(uname -m)-linux
out=target/archive
rm -rf "$out"
mkdir -p "$out/$name/docs" "$out/$name/completions" "$out/$name/man/man1"
install -m 755 "$binary" "$out/$name/"
install -m 644 README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT pipeline.toml target/package/THIRD-PARTY.gz "$out/$name/"
install -m 644 docs/*.md "$out/$name/docs/"
install -m 644 target/package/completions/* "$out/$name/completions/"
install -m 644 target/package/man/* "$out/$name/man/man1/"
cp -r deploy "$out/$name/"
rm -r "$out/$name/deploy/debian"
chmod -R u=rwX,go=rX "$out/$name"
tar --create --directory "$out" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu --mtime "@${SOURCE_DATE_EPOCH:-$(date +%s)}" "$name" |
    gzip -9n >"$out/$name.tar.gz"
rm -r "${out:?}/$name"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz"
