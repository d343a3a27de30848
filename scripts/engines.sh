#!/bin/sh
# DuckDB, Polars and, where there is Java, Spark on a staged demonstration: their counts and sums are those of the mirror. `engines.sh test` tries it, `engines.sh ready`
# only says whether it can. CURSUS names the program; without it, it is built.
set -eu

cd "$(dirname "$0")/.."
bin=$(sh scripts/python.sh engines duckdb==2.0.1 polars==2.1.0) || exit 1
[ "${1:-test}" != ready ] || exit 0
engines="duckdb polars"
# Spark 4 runs on Java 17, which a machine may have beside another one.
for home in "${JAVA_HOME:-}" /usr/lib/jvm/java-17-openjdk-*; do
	[ ! -x "$home/bin/java" ] || case $("$home/bin/java" -version 2>&1) in *'"17.'*) java=$home ;; esac
done
if [ -n "${java:-}" ]; then
	spark=$(sh scripts/python.sh spark pyspark==4.3.0) || exit 1
	engines="$engines spark"
else
	echo "Java 17 is not installed: Spark is not tried" >&2
fi

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
for engine in $engines; do
	case $engine in
	spark) found=$(JAVA_HOME=$java "$spark/python" "$examples/spark_engine.py" staging parquet 2>spark.log) || { cat spark.log >&2; exit 1; } ;;
	*) found=$("$bin/python" "$examples/${engine}_engine.py" staging parquet) ;;
	esac
	"$bin/python" - "$engine" "$mirror" "$found" <<'PYTHON'
import json, sys
engine, mirror, found = sys.argv[1], json.loads(sys.argv[2])[0], json.loads(sys.argv[3])
for source, numbers in found.items():
    if numbers != mirror:
        sys.exit(f"{engine} on {source} finds {numbers}, and the mirror has {mirror}")
    print(f"{engine} on {source}: as the mirror: {numbers}")
PYTHON
done
