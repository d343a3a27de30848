#!/bin/sh
# Makes all files of a release from its tag: release.sh VERSION. They are in target/releases/VERSION: the Debian package, the archive of the binary,
# the source, a list of what is compiled in (CycloneDX) and SHA256SUMS. The same tag, compiler and cargo-deb give the same files.
# Needs root, debootstrap, cargo-deb and jq. Nothing is published.
set -eu

version=${1:?no version; \`scripts/release.sh VERSION\`}
cd "$(dirname "$0")/.."
tag=v$version
refuse() { echo "no release of $version: $*" >&2; exit 1; }

git rev-parse --quiet --verify "refs/tags/$tag^{commit}" >/dev/null || refuse "there is no tag $tag; \`git tag $tag\`"
[ "$(git rev-parse HEAD)" = "$(git rev-parse "$tag^{commit}")" ] || refuse "the checkout is not at $tag; \`git switch --detach $tag\`"
[ -z "$(git status --porcelain)" ] || refuse "the checkout has changes; \`git status\` shows them"
cargo=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ "$cargo" = "$version" ] || refuse "Cargo.toml says $cargo; correct \`version\` in [workspace.package], or the tag"
grep -q "^## \[$version\]" CHANGELOG.md || refuse "CHANGELOG.md has no section \`## [$version]\`; write it"
for tool in cargo-deb debootstrap jq; do
    PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || refuse "$tool is missing; install it"
done
[ "$(id -u)" = 0 ] || refuse "the binary is built in a Debian root, which needs root; run it as root"

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$tag")
CURSUS_COMMIT=$(TZ=UTC git log -1 --abbrev=9 --date=format-local:%Y-%m-%d --format='%h %cd' "$tag")
DEBIAN_ROOTS=${DEBIAN_ROOTS:-$PWD/target/roots}
CARGO_TARGET_DIR=$PWD/target
export SOURCE_DATE_EPOCH CURSUS_COMMIT DEBIAN_ROOTS CARGO_TARGET_DIR

out=$PWD/target/releases/$version
source=$out.source/cursus-$version
rm -rf "$out" "$out.source"
mkdir -p "$out" "$out.source"
git archive --format=tar --prefix="cursus-$version/" "$tag" | gzip -9n >"$out/cursus-$version.tar.gz"
tar -xzf "$out/cursus-$version.tar.gz" -C "$out.source"

# What is shipped is built from the source that is shipped.
archive=$(sh "$source/scripts/build-archive.sh")
package=$(sh "$source/scripts/build-deb.sh" "$source/target/portable")
cp "$source/$archive" "$source/$package" "$out/"
jq --raw-input --null-input --arg version "$version" --argjson time "$SOURCE_DATE_EPOCH" '{
    bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
    metadata: { timestamp: ($time | todate), component: { type: "application", name: "cursus", version: $version } },
    components: [inputs / "|" | {
        type: "library", name: .[0], version: .[1], licenses: [{ expression: .[2] }], purl: "pkg:cargo/\(.[0])@\(.[1])"
    }]
}' <"$source/target/package/crates" >"$out/cursus-$version.cdx.json"
(cd "$out" && sha256sum -- * >SHA256SUMS)
rm -rf "$out.source"
ls -l "$out"
