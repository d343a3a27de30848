"""Spark on staged pages and on Parquet: `python spark_engine.py STAGING PARQUET` prints counts and sums, one JSON document."""

import json
import sys

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

staging, parquet = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.driver.host", "localhost")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


def newest(frame, *order):
    # Each record as it was read last: a record that was read in several runs is staged several times.
    window = Window.partitionBy("id").orderBy(*[F.col(name).desc() for name in order])
    return frame.withColumn("place", F.row_number().over(window)).filter("place = 1")


def pages(resource, *columns):
    """The pages as they are; the name of a file sorts as the time does."""
    # A page is one JSON array: each of its records is a row.
    frame = spark.read.json(
        f"{staging}/*/*/{resource}", multiLine=True, recursiveFileLookup=True, pathGlobFilter="page-*.json.gz"
    )
    return newest(frame.select(*columns, F.input_file_name().alias("file")), "file")


def columns(resource, *names):
    # Files of several days may lack a column that came later.
    frame = spark.read.option("mergeSchema", "true").parquet(f"{parquet}/resource={resource}")
    return newest(frame.select(*names, "_received_at", "_record_number"), "_received_at", "_record_number")


def ask(rows):
    enrolments = rows("cursus_users", "id", "level").agg(F.count("*"), F.sum("level")).first()
    return {
        "cursus": rows("cursus", "id").count(),
        "projects": rows("projects", "id").count(),
        "cursus_users": enrolments[0],
        "levels": round(enrolments[1], 2),
    }


print(json.dumps({"pages": ask(pages), "parquet": ask(columns)}))
spark.stop()
