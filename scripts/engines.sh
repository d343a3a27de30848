#!/bin/sh
# DuckDB and Polars on a staged demonstration: their counts and sums are those of the mirror. `engines.sh test` tries it, `engines.sh ready`
# only says whether it can. CURSUS names the program; without it, it is built.
set -eu

cd "$(dirname "$0")/.."
bin=$(sh scripts/python.sh engines duckdb==2.0.1 polars==2.1.0) || exit 1
[ "${1:-test}" != ready ] || exit 0

if [ -z "${CURSUS:-}" ]; then
	cargo build --locked
	CURSUS=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/cursus
fi
examples=$PWD/examples/engines
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
cd "$work"
# As root, the user of the private PostgreSQL passes through.
chmod 755 .
"$CURSUS" demo --dir demo -q
cd demo
mkdir parquet
"$CURSUS" stage export --format parquet parquet -q
mirror=$("$CURSUS" sql --json "SELECT (SELECT count(*) FROM cursus) AS cursus, (SELECT count(*) FROM projects) AS projects,
	(SELECT count(*) FROM cursus_users) AS cursus_users, (SELECT round(sum(level)::numeric, 2)::float8 FROM cursus_users) AS levels")
for engine in duckdb polars; do
	found=$("$bin/python" "$examples/${engine}_engine.py" staging parquet)
	"$bin/python" - "$engine" "$mirror" "$found" <<'PYTHON'
import json, sys
engine, mirror, found = sys.argv[1], json.loads(sys.argv[2])[0], json.loads(sys.argv[3])
for source, numbers in found.items():
    if numbers != mirror:
        sys.exit(f"{engine} on {source} finds {numbers}, and the mirror has {mirror}")
    print(f"{engine} on {source}: as the mirror: {numbers}")
PYTHON
done
