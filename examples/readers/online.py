"""Who is online, and where: a list that is written again every 45 seconds, until Ctrl-C.

`online.py` shows all campuses, `online.py 9` one. `--rounds N` ends after so many, `--every SECONDS` changes the pause. DATABASE says where:
see peers.py. Needs the pack `locations`; the list is as fresh as its last read, however often it is written.
"""

import argparse
import os
import time
from datetime import datetime, timezone

import psycopg

ONLINE = """
    SELECT o.host, o.login, c.name, o.begin_at
    FROM online_now AS o
    LEFT JOIN campuses AS c ON c.id = o.campus_id
    WHERE %(campus)s::bigint IS NULL OR o.campus_id = %(campus)s
    ORDER BY c.name, o.cluster, o.line, o.seat
"""


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("campus", type=int, nargs="?")
    arguments.add_argument("--every", type=float, default=45)
    arguments.add_argument("--rounds", type=int)
    options = arguments.parse_args()
    with psycopg.connect(os.environ["DATABASE"], autocommit=True) as database:
        done = 0
        while True:
            people = database.execute(ONLINE, {"campus": options.campus}).fetchall()
            print(f"{datetime.now(timezone.utc):%H:%M:%S}Z: {len(people)} online")
            for host, login, campus, begin_at in people:
                since = begin_at.astimezone(timezone.utc)
                print(f"  {host:<10} {login or 'not a student':<14} {campus or '-':<16} since {since:%H:%M}Z")
            done += 1
            if done == options.rounds:
                return
            time.sleep(options.every)


try:
    main()
except KeyboardInterrupt:
    pass
