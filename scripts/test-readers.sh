#!/bin/sh
# The programs of examples/readers on a mirror of a simulated campus: they print what the mirror holds, and the API counts no request.
# `test-readers.sh test` tries it, `test-readers.sh ready` only says whether it can. CURSUS names the program; without it, it is built.
set -eu

cd "$(dirname "$0")/.."
bin=$(sh scripts/python.sh readers 'psycopg[binary]==3.3.9') || exit 1
[ "${1:-test}" != ready ] || exit 0

if [ -z "${CURSUS:-}" ]; then
	cargo build --locked
	CURSUS=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/cursus
fi
readers=$PWD/examples/readers
work=$(mktemp -d)
started=''
clean() {
	for process in $started; do
		kill -INT "$process" 2>/dev/null || true
		wait "$process" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM
# Waits for a test to hold, a minute at most.
until_holds() {
	waits=0
	until "$@"; do
		waits=$((waits + 1))
		[ "$waits" -lt 600 ] || { echo "this did not come true in a minute: $*" >&2; cat "$work"/*.log >&2; exit 1; }
		sleep 0.1
	done
}

cd "$work"
# As root, the user of the private PostgreSQL passes through.
chmod 755 .
# A shell without job control ignores Ctrl-C in what it starts; Python restores it for the program.
start() { exec "$bin/python" -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' "$@"; }
start "$CURSUS" simulate --port 0 --rate 1000 --hourly 100000 --memberships 500 >simulator.env 2>simulator.log &
started=$!
until_holds grep -q CLIENT_SECRET= simulator.env
mkdir project
cd project
(
	. ../simulator.env
	unset CURSUS_DATABASE_URL DATABASE_URL
	export XDG_STATE_HOME="$work/state"
	"$CURSUS" init --yes -q >&2
	sed -i 's/^# packs = \[[^]]*\]/packs = ["locations"]/' pipeline.toml
	"$CURSUS" run -q >&2
)
api=$(. ../simulator.env && echo "$CURSUS_API_URL")
start "$CURSUS" serve --listen 127.0.0.1:0 2>../serve.log &
started="$! $started"
export DATABASE="host=$PWD/.cursus/pg user=cursus dbname=cursus"
# The one that `cursus run` has started may still be ending.
answers() { "$bin/python" -c 'import os, psycopg; psycopg.connect(os.environ["DATABASE"])' 2>/dev/null; }
until_holds grep -q 'serving http' ../serve.log
until_holds answers
API=$api READERS=$readers "$bin/python" - <<'PYTHON'
import os, subprocess, sys, urllib.request, json
import psycopg


def requests() -> int:
    with urllib.request.urlopen(os.environ["API"] + "/_simulator/statistics") as answer:
        return json.load(answer)["requests"]


def lines(program: str, *arguments: str) -> list[str]:
    path = os.path.join(os.environ["READERS"], program)
    done = subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode:
        sys.exit(f"{program} ended with {done.returncode}: {done.stderr}")
    return done.stdout.splitlines()


def check(what: str, found: int, wanted: int) -> None:
    if found != wanted or not found:
        sys.exit(f"{what}: the program prints {found}, and the mirror has {wanted}")
    print(f"{what}: {found}, as the mirror")


before = requests()
with psycopg.connect(os.environ["DATABASE"], autocommit=True) as mirror:
    def count(query: str, *values: object) -> int:
        return mirror.execute(query, values).fetchone()[0]

    projects = lines("peers.py")
    slug = projects[0].split(":")[0]
    check("projects", len(projects), 10)
    check("peers", len(lines("peers.py", slug)), count("SELECT count(*) FROM project_peers WHERE slug = %s", slug))
    people = "SELECT count(DISTINCT user_id) FROM logtime_daily JOIN users ON id = user_id WHERE day > current_date - 7"
    check("people with logtime", len(lines("logtime.py")), count(people))
    login = mirror.execute("SELECT login FROM logtime_daily JOIN users ON id = user_id WHERE day > current_date - 7").fetchone()[0]
    check("one person's logtime", len(lines("logtime.py", login)), 1)
    online = lines("online.py", "--rounds", "2", "--every", "0.1")
    check("people online, twice", sum(line.startswith("  ") for line in online), 2 * count("SELECT count(*) FROM online_now"))
if (asked := requests() - before) != 0:
    sys.exit(f"the API counted {asked} requests")
print("requests to the API: 0")
PYTHON
