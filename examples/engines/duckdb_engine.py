"""DuckDB on staged pages and on Parquet: `python duckdb_engine.py STAGING PARQUET` prints counts and sums, one JSON document."""

import json
import sys

import duckdb

staging, parquet = sys.argv[1:]
# Each record as it was read last: a record that was read in several runs is staged several times.
NEWEST = """SELECT * FROM {source} QUALIFY row_number() OVER (PARTITION BY id ORDER BY {order}) = 1"""


def pages(resource):
    """The pages as they are; the name of a file sorts as the time does."""
    files = f"{staging}/*/*/{resource}/**/page-*.json.gz"
    source = f"read_json('{files}', format = 'array', filename = true, union_by_name = true)"
    return NEWEST.format(source=source, order="filename DESC")


def columns(resource):
    files = f"{parquet}/resource={resource}/*/*.parquet"
    return NEWEST.format(source=f"read_parquet('{files}')", order="_received_at DESC, _record_number DESC")


def ask(rows):
    one = lambda query: duckdb.sql(query).fetchall()[0][0]
    return {
        "cursus": one(f"SELECT count(*) FROM ({rows('cursus')})"),
        "projects": one(f"SELECT count(*) FROM ({rows('projects')})"),
        "cursus_users": one(f"SELECT count(*) FROM ({rows('cursus_users')})"),
        "levels": round(one(f"SELECT sum(level) FROM ({rows('cursus_users')})"), 2),
    }


print(json.dumps({"pages": ask(pages), "parquet": ask(columns)}))
