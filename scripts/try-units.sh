#!/bin/sh
# Runs the units of deploy/systemd, and those that `cursus init --systemd` writes, under a systemd of their own with all their
# restrictions and the private PostgreSQL: try-units.sh [BINARY]. It boots in namespaces over a copy of this file system that is removed
# afterwards; nothing outside changes but a control group, which it removes. Needs root, systemd, util-linux, acl, PostgreSQL's programs, and a
# binary with the simulator (the default is target/debug/cursus).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

# Inside, as a service of the new system: everything is typed as docs/operations.md has it.
inside() {
    set -eux
    units=$1
    trap '[ -e /host/passed ] || journalctl --no-pager -n 40' EXIT
    useradd --system --home-dir /var/lib/cursus --shell /usr/sbin/nologin cursus
    install -d -o cursus -g cursus -m 700 /var/lib/cursus
    cp "$units"/cursus-* /etc/systemd/system/
    mkdir -p /var/lib/prometheus/node-exporter
    setfacl -m u:cursus:rwx /var/lib/prometheus/node-exporter
    systemctl daemon-reload

    cursus simulate --port 4242 --students 20 --rate 1000 --hourly 100000 --json >/run/simulator &
    while ! grep -q url /run/simulator; do sleep 0.1; done
    of() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/" /run/simulator; }
    cd /var/lib/cursus
    runuser -u cursus -- cursus init -q >/dev/null
    good="CURSUS_API_URL=$(of url)
CURSUS_CLIENT_ID=$(of client_id)
CURSUS_CLIENT_SECRET=$(of client_secret)"
    echo "$good" >.env
    rows() { (cd "$1" && runuser -u "$2" -- env HOME="$(getent passwd "$2" | cut -d: -f6)" cursus sql --csv "SELECT count(*) FROM users" | tail -n 1); }

    systemctl start cursus-run.service
    [ "$(rows . cursus)" = 20 ]
    ls .local/state/cursus/hits/*

    systemctl start cursus-watch.service
    systemctl reload cursus-watch.service
    systemctl status --no-pager cursus-watch.service | grep 'Status: "round 1'
    systemctl stop cursus-watch.service
    [ "$(systemctl show -P Result cursus-watch.service)" = success ]
    if pgrep -u cursus postgres; then exit 1; fi

    systemctl start cursus-serve.service
    systemctl stop cursus-serve.service
    [ "$(systemctl show -P Result cursus-serve.service)" = success ]

    # A broken secret is a failed unit, which starts the notification, which starts the program.
    printf '#!/bin/sh\n{ echo "$1 $MONITOR_SERVICE_RESULT $MONITOR_EXIT_STATUS"; cat; } >said\n' >notify
    chown cursus notify
    chmod 700 notify
    echo "$good" | sed 's/SECRET=.*/SECRET=s-s4t2ud-wrong/' >.env
    rm .cursus/token-*
    if systemctl start cursus-run.service; then exit 1; fi
    while ! grep -q 'has failed' said; do sleep 0.1; done
    cat said
    grep '^cursus-run.service exit-code 1$' said
    journalctl -p err -u 'cursus-notify@*' | grep 'cursus-run.service has failed'
    echo "$good" >.env

    if cursus status --help | grep -q -- --prometheus; then
        systemctl start cursus-metrics.service
        runuser -u nobody -- grep cursus_build_info /var/lib/prometheus/node-exporter/cursus.prom
    else
        echo "this binary writes no metrics: cursus-metrics.service is not tried"
    fi

    # Units for another directory, user and binary, with names that mean something to systemd or to a shell.
    useradd --create-home mirror
    odd="/home/mirror/50% %h \"it's\" \$HOME \\x41 é;# "
    mkdir -p "$odd/bin" "/srv/staging 2"
    cp /usr/bin/cursus "$odd/bin/cursus"
    echo "$good" >"$odd/.env"
    echo "CURSUS_STAGING_DIR=/srv/staging 2/here" >>"$odd/.env"
    chmod 600 "$odd/.env"
    chown -R mirror: /home/mirror "/srv/staging 2"
    (cd "$odd" && runuser -u mirror -- "$odd/bin/cursus" init --systemd units --name odd)
    cp "$odd"/units/* /etc/systemd/system/
    systemctl daemon-reload
    systemctl start cursus-odd-run.service
    systemctl start cursus-odd-watch.service
    systemctl stop cursus-odd-watch.service
    (cd "$odd" && ls "/srv/staging 2/here" && [ ! -e staging ] && [ "$(rows . mirror)" = 20 ])
    ls /home/mirror/.local/state/cursus/hits/*

    # The same for the user's own service manager.
    id=$(id -u mirror)
    systemctl start "user@$id.service"
    as_user() { runuser -u mirror -- env HOME=/home/mirror XDG_RUNTIME_DIR="/run/user/$id" "$@"; }
    (cd "$odd" && as_user "$odd/bin/cursus" init --systemd /home/mirror/.config/systemd/user --user >/dev/null)
    as_user systemctl --user daemon-reload
    as_user systemctl --user start cursus-run.service
    as_user systemctl --user start cursus-watch.service
    as_user systemctl --user stop cursus-watch.service

    # And for root, whose private PostgreSQL becomes another user.
    mkdir -m 700 /srv/root
    cd /srv/root
    echo "$good" >.env
    chmod 600 .env
    HOME=/root cursus init --systemd /etc/systemd/system --name root >/dev/null
    systemctl daemon-reload
    systemctl start cursus-root-run.service
    [ "$(rows . root)" = 20 ]
    : >/host/passed
}
if [ "${1:-}" = --inside ]; then
    inside /host/units
    exit
fi

binary=$(realpath "${1:-$root/target/debug/cursus}")
[ "$(id -u)" = 0 ] || { echo "try-units.sh: boots a systemd, which only root may" >&2; exit 2; }
groups=$(findmnt -rnt cgroup2 -o TARGET | head -n 1)
[ -n "$groups" ] && [ -x /lib/systemd/systemd ] || { echo "try-units.sh: needs systemd and control groups of version 2" >&2; exit 2; }
group=$groups/cursus-try-$$
host=$(mktemp -d)
trap 'find "$group" -depth -mindepth 1 -type d -exec rmdir {} + 2>/dev/null || true; rmdir "$group" || true; rm -rf "$host"' EXIT
mkdir "$group"
cp -r "$root/deploy/systemd" "$host/units"
cp "$binary" "$host/cursus"
cp "$0" "$host/try-units.sh"
: >"$host/said"
: >"$host/console"

boot() {
    set -eu
    host=$1
    mount -t tmpfs -o mode=755 tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
    cd /mnt/root
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=755 tmpfs dev
    for device in null zero full random urandom tty; do
        : >dev/$device
        mount --bind /dev/$device dev/$device
    done
    mkdir dev/shm dev/pts host
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount --bind "$host" host
    : >dev/console
    mount --bind host/console dev/console
    ip link set lo up
    install -m 755 host/cursus usr/bin/cursus
    echo 0123456789abcdef0123456789abcdef >etc/machine-id
    printf '[Unit]\nRequires=try.service\nAfter=try.service\n' >etc/systemd/system/try.target
    printf '%s\n' '[Unit]' 'Requires=basic.target' 'After=basic.target' 'SuccessAction=exit-force' 'FailureAction=exit-force' \
        '[Service]' 'Type=oneshot' 'TimeoutStartSec=5min' 'StandardOutput=append:/host/said' 'StandardError=inherit' \
        'ExecStart=/bin/sh /host/try-units.sh --inside' >etc/systemd/system/try.service
    for unit in udevd udev-trigger modules-load sysctl random-seed remount-fs timesyncd binfmt update-utmp; do
        ln -sf /dev/null etc/systemd/system/systemd-$unit.service
    done
    pivot_root . mnt
    exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        chroot . /lib/systemd/systemd --system --unit=try.target --log-target=console --log-level=warning --show-status=no
}
(
    echo 0 >"$group/cgroup.procs"
    exec timeout --kill-after=5 400 unshare --mount --uts --ipc --net --pid --fork --cgroup --propagation private --kill-child=KILL \
        sh -c "$(sed -n '/^boot() {$/,/^}$/p' "$0"); boot \"\$1\"" sh "$host"
) || true
cat "$host/console" "$host/said"
[ -e "$host/passed" ] || { echo "try-units.sh: failed" >&2; exit 1; }
echo "try-units.sh: the units work"
