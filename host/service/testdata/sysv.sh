#!/bin/sh
# Written by leptirctl install; leptirctl uninstall removes it.
### BEGIN INIT INFO
# Provides:          leptir
# Required-Start:    $remote_fs $syslog
# Required-Stop:     $remote_fs $syslog
# Should-Start:      $network $time
# Should-Stop:       $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: leptir, background task processor
# Description:       Pulls tasks from queues and runs each in a process of its own.
### END INIT INFO

HOST='/usr/local/bin/leptir-host'
CONTROL='/usr/local/bin/leptirctl'
CONFIG='/etc/leptir/leptir.hcl'
RUN_AS='leptir'
STOP_TIMEOUT=120

# The host, and what signals it, run as this user.
as_user() {
	if [ "$(id -un)" = "$RUN_AS" ]; then
		"$@"
	elif command -v runuser >/dev/null 2>&1; then
		runuser -u "$RUN_AS" -- "$@"
	else
		su -s /bin/sh "$RUN_AS" -c 'exec "$0" "$@"' -- "$@"
	fi
}

control() {
	as_user "$CONTROL" "$@" -config "$CONFIG"
}

running() {
	control running >/dev/null 2>&1
}

start() {
	if running; then
		echo "leptir runs already"
		return 0
	fi
	as_user "$HOST" -daemon -config "$CONFIG"
}

stop() {
	if ! running; then
		echo "leptir does not run"
		return 0
	fi
	control stop -timeout "$STOP_TIMEOUT"
}

case "$1" in
start)
	start
	;;
stop)
	stop
	;;
restart | force-reload)
	stop && start
	;;
try-restart)
	if running; then
		stop && start
	fi
	;;
reload)
	control reload
	;;
status)
	control running || exit 3
	;;
*)
	echo "usage: $0 {start|stop|restart|try-restart|reload|force-reload|status}" >&2
	exit 2
	;;
esac
