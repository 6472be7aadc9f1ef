#!/bin/sh
# usage: containers retire|recall
# What the scripts of the packages do to containers when cleat leaves the machine
# and when it comes back.
set -e
retired=/var/lib/cleat/retired

# unit_files lists the units of containers. cleat's own are not in /etc.
unit_files() {
	for file in /etc/systemd/system/cleat-*; do
		if [ -f "$file" ] && grep -q '^# Made by cleat\.' "$file"; then
			echo "${file##*/}"
		fi
	done
}

case "$1" in
retire)
	mkdir -p -m 0700 "${retired%/*}"
	# Units that start at boot could only fail, again and again, without cleat.
	for unit in $(unit_files); do
		if [ "$(systemctl is-enabled "$unit" 2>/dev/null)" = enabled ]; then
			echo "$unit" >>$retired
			systemctl --quiet --no-reload disable "$unit" || true
		fi
	done
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload || true
		systemctl stop cleat.slice || true
		# It would bring the firewall back.
		systemctl stop cleat-network-restore.socket cleat-network-restore.service || true
		"${0%/*}/cleat-init" network-remove || true
	else
		cleat host stop >/dev/null 2>&1 || true
	fi
	;;
recall)
	[ -f $retired ] || exit 0
	while read -r unit; do
		if [ -f "/etc/systemd/system/$unit" ]; then
			systemctl --quiet --no-reload enable "$unit" || true
		fi
	done <$retired
	rm -f $retired
	;;
*)
	echo "usage: $0 retire|recall" >&2
	exit 2
	;;
esac
