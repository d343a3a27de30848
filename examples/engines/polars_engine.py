"""Polars on staged pages and on Parquet: `python polars_engine.py STAGING PARQUET` prints counts and sums, one JSON document."""

import glob
import gzip
import json
import sys

import polars as pl

staging, parquet = sys.argv[1:]


def newest(frame, order):
    # Each record as it was read last: a record that was read in several runs is staged several times.
    return frame.sort(order).unique("id", keep="last")


def pages(resource, *columns):
    """The pages as they are; the name of a file sorts as the time does."""
    frames = []
    for file in sorted(glob.glob(f"{staging}/*/*/{resource}/**/page-*.json.gz", recursive=True)):
        with gzip.open(file) as page:
            records = json.load(page)
        if records:
            values = {column: [record.get(column) for record in records] for column in columns}
            frames.append(pl.DataFrame(values, strict=False).with_columns(file=pl.lit(file)))
    return newest(pl.concat(frames, how="vertical_relaxed"), ["file"])


def columns(resource, *names):
    frame = pl.scan_parquet(f"{parquet}/resource={resource}/**/*.parquet", hive_partitioning=True)
    return newest(frame.select(*names, "_received_at", "_record_number").collect(), ["_received_at", "_record_number"])


def ask(rows):
    enrolments = rows("cursus_users", "id", "level")
    return {
        "cursus": rows("cursus", "id").height,
        "projects": rows("projects", "id").height,
        "cursus_users": enrolments.height,
        "levels": round(enrolments["level"].sum(), 2),
    }


print(json.dumps({"pages": ask(pages), "parquet": ask(columns)}))
