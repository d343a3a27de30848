"""How long people were at a machine in the last seven days, day by day.

`logtime.py` reports on all, `logtime.py LOGIN...` on some. DATABASE says where: see peers.py. Needs the pack `locations`.
"""

import os
import sys
from datetime import timedelta

import psycopg

DAYS = """
    SELECT u.login, d.day, sum(d.duration)
    FROM logtime_daily AS d
    JOIN users AS u ON u.id = d.user_id
    WHERE d.day > current_date - 7 AND (cardinality(%(logins)s::text[]) = 0 OR u.login = ANY (%(logins)s))
    GROUP BY u.login, d.day
    ORDER BY u.login, d.day
"""


def hours(duration: timedelta) -> str:
    minutes = round(duration.total_seconds() / 60)
    return f"{minutes // 60}:{minutes % 60:02}"


def main() -> None:
    people: dict[str, list[tuple[str, timedelta]]] = {}
    with psycopg.connect(os.environ["DATABASE"], autocommit=True) as database:
        for login, day, duration in database.execute(DAYS, {"logins": sys.argv[1:]}):
            people.setdefault(login, []).append((f"{day:%a}", duration))
    totals = {login: sum((duration for _, duration in days), timedelta()) for login, days in people.items()}
    for login in sorted(totals, key=totals.get, reverse=True):
        days = "  ".join(f"{day} {hours(duration)}" for day, duration in people[login])
        print(f"{login:<12} {hours(totals[login]):>6}   {days}")


main()
