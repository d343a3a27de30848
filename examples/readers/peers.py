"""Whom to ask about a project: who works on it or has validated it, and who of them is at a machine now.

`peers.py 42cursus-libft` asks the database of DATABASE, such as "host=/srv/mirror/.cursus/pg user=cursus dbname=cursus".
Without a slug: the projects that most people work on. Needs the pack `locations` for seats.
"""

import os
import sys

import psycopg

PROJECTS = """
    SELECT slug, open, validated FROM project_statistics WHERE slug IS NOT NULL ORDER BY open DESC, slug LIMIT 10
"""
PEERS = """
    SELECT p.login, p.standing, p.final_mark, o.host
    FROM project_peers AS p
    LEFT JOIN online_now AS o ON o.user_id = p.user_id
    WHERE p.slug = %s
    ORDER BY o.host IS NULL, p.standing DESC, p.final_mark DESC NULLS LAST, p.login
"""


def main() -> None:
    with psycopg.connect(os.environ["DATABASE"], autocommit=True) as database:
        if len(sys.argv) < 2:
            for slug, open_, validated in database.execute(PROJECTS):
                print(f"{slug}: {open_} at it, {validated} validated")
            return
        peers = database.execute(PEERS, [sys.argv[1]]).fetchall()
    if not peers:
        sys.exit(f"nobody works on {sys.argv[1]} or has validated it; `peers.py` lists projects")
    for login, standing, mark, host in peers:
        seat = f"at {host}" if host else "away"
        print(f"{login:<12} {standing:<12} {'-' if mark is None else mark:>4}  {seat}")


main()
