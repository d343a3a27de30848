#!/bin/sh
# Checks what is in deploy/: the alert rules and the dashboard by the list of metrics and by promtool, the units by systemd-analyze, the
# logrotate file by logrotate. Where one of these programs is not installed it says so, and checks the rest.
set -eu
cd "$(dirname "$0")/../deploy"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
fail() { echo "deploy: $*" >&2; failed=1; }
has() { command -v "$1" >/dev/null 2>&1 || { echo "$1 is not installed: $2 not checked" >&2; return 1; }; }

# One list of names: rules and dashboard use no other metric, and the dashboard shows all.
rules=prometheus/cursus.rules.yml cases=prometheus/cursus.rules.test.yml dashboard=grafana/cursus.json
names() { sed '/^ *#/d' "$@" | grep -o '\bcursus_[a-z_]*' | sort -u; }
sed '/^#/d; s/ .*//' prometheus/metrics.txt | sort -u >"$scratch/metrics"
for file in "$rules" "$cases" "$dashboard"; do
    # A resource has such a name too.
    others=$(sed 's/="cursus_users"//' "$file" | names | grep -vxF -f "$scratch/metrics" || true)
    [ -z "$others" ] || fail "$file names metrics that prometheus/metrics.txt does not list: $others"
done
hidden=$(names "$dashboard" | grep -vxF -f - "$scratch/metrics" || true)
[ -z "$hidden" ] || fail "$dashboard does not show $hidden"

# Each alert has a case in which it fires, and one in which it does not.
sed -n 's/^ *- alert: //p' "$rules" | sort >"$scratch/alerts"
awk '
    function note() { if (alert != "") print alert, (fires ? "fires" : "rests"); alert = ""; fires = 0 }
    /- eval_time:|- name:/ { note() }
    /alertname:/ { alert = $2 }
    /exp_alerts:/ { fires = 1 }
    END { note() }
' "$cases" | sort -u >"$scratch/tried"
while read -r alert; do
    for way in fires rests; do
        grep -qx "$alert $way" "$scratch/tried" || fail "$cases has no case in which $alert $way"
    done
done <"$scratch/alerts"

if has jq "$dashboard is"; then
    jq -e '
        (.uid and .title and .schemaVersion >= 36) and
        ([.panels[].id] | length == (unique | length)) and
        ([.panels[] | select(.type != "row")] | length > 0 and all(.title and .gridPos and (.targets | length > 0 and all(.expr and .refId))))
    ' "$dashboard" >/dev/null || fail "$dashboard is no dashboard with a title, panels of different ids, and an expression for each"
fi
if has promtool "rules and expressions are"; then
    promtool check rules "$rules" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2; fail "$rules is refused"; }
    (cd prometheus && promtool test rules cursus.rules.test.yml) >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2; fail "$cases fails"; }
    if command -v jq >/dev/null; then
        # As rules, so that the expressions of the dashboard are parsed.
        jq 2>"$scratch/said" '{groups: [{name: "dashboard", rules: [.panels[] | .id as $id | .targets[]? | {
            record: "panel:\($id)_\(.refId)", expr: (.expr | gsub("\\$__(rate_)?interval"; "5m"))}]}]}' "$dashboard" >"$scratch/dashboard.yml" || fail "$dashboard is no JSON"
        promtool check rules "$scratch/dashboard.yml" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2; fail "$dashboard has an expression that is refused"; }
    fi
fi

# Every service has the same restrictions, from the comment that begins them to the next empty line.
restrictions() { sed -n '/^# What the service may not do/,/^$/{/./p}' "$1"; }
restrictions systemd/cursus-run.service >"$scratch/restrictions"
grep -q '^ProtectSystem=' "$scratch/restrictions" || fail "systemd/cursus-run.service has no restrictions"
for unit in systemd/*.service; do
    restrictions "$unit" | cmp -s - "$scratch/restrictions" || fail "$unit has other restrictions than cursus-run.service"
done
# The directory has the same mode from a unit, from the package and in the image.
mode=$(sed -n 's/^StateDirectoryMode=0//p' systemd/cursus-run.service)
for unit in systemd/*.service; do
    grep -qx "StateDirectoryMode=0$mode" "$unit" || fail "$unit gives the state directory another mode than 0$mode, that of cursus-run.service"
done
for file in debian/postinst ../Containerfile; do
    grep -q "install --directory --mode[ =]0*$mode .*/var/lib/cursus" "$file" || fail "$file makes /var/lib/cursus with another mode than 0$mode, that of the units"
done
if has systemd-analyze "units are"; then
    # With a program that is there, which the units start from /usr/bin.
    program=$(command -v true)
    mkdir "$scratch/units"
    for unit in systemd/*.service systemd/*.timer; do
        sed "s|/usr/bin/cursus|$program|" "$unit" >"$scratch/units/${unit##*/}"
    done
    # The manual page comes with the package.
    SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$scratch"/units/* >"$scratch/said" 2>&1 || fail "a unit is refused"
    grep . "$scratch/said" >&2 && fail "systemd-analyze verify has something to say"
    for unit in "$scratch"/units/*.service; do
        systemd-analyze security --no-pager --offline=true --threshold=20 "$unit" >"$scratch/said" 2>&1 ||
            { grep Overall "$scratch/said" >&2; fail "${unit##*/} is exposed more than 2.0"; }
    done
fi

# Debian keeps it where users do not look.
PATH=$PATH:/usr/sbin
if has logrotate "logrotate/cursus is"; then
    id cursus >/dev/null 2>&1 && user=cursus || user=$(id -un)
    sed "s|su cursus cursus|su $user $(id -gn "$user")|" logrotate/cursus >"$scratch/logrotate"
    chmod 644 "$scratch/logrotate"
    logrotate -d -s "$scratch/state" "$scratch/logrotate" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2; fail "logrotate/cursus is refused"; }
    grep -i '^error' "$scratch/said" >&2 && fail "logrotate finds a fault in logrotate/cursus"
fi

[ "$failed" = 0 ] && echo "deploy/: alerts, dashboard, units and logrotate file are in order, as far as this machine can check them"
exit "$failed"
