#!/bin/bash
# Runs inside the virtual machine after each boot, as root, on a systemd that has
# never heard of cleat. It prints one line per check, "ok NAME" or "not ok NAME:
# …", and "DONE" at the end of a boot; the test on the host reads the console.
exec >/dev/ttyS0 2>&1
cd /opt/cleat
export PATH=/opt/cleat:$PATH

# is NAME WANTED COMMAND...: the command's output, spaces squeezed, is as wanted.
is() {
	local name=$1 want=$2 got
	shift 2
	got=$("$@" 2>&1 | tr -s '[:space:]' ' ')
	if [ "${got% }" = "$want" ]; then echo "ok $name"; else echo "not ok $name: got '${got% }', want '$want'"; fi
}
run() { cleat run --rm --network none "$@"; }
code() { "$@" >/dev/null 2>&1; echo $?; }
state() { cleat inspect -f '{{.State.Status}}' "$1"; }
page() { hello get 127.0.0.1:8088 | cut -d' ' -f1; }
open_device() { cleat exec devices sh -c '(mknod /sda b 8 0; cat /sda; rm -f /sda) 2>&1 | grep -c "not permitted"'; }

first_boot() {
	cleat import -c 'CMD ["sh"]' busybox.tar busybox >/dev/null
	tar -c hello | cleat import -c 'ENTRYPOINT ["/hello"]' - hello >/dev/null
	is "systemd is PID 1" systemd cat /proc/1/comm
	is "output of a container" hi run busybox echo hi
	is "exit code" 42 code run busybox sh -c 'exit 42'
	is "command not found" 127 code run busybox nosuch

	cleat run -d --restart=always --network host --name demo hello 127.0.0.1:8088 >/dev/null
	is "boot service answers" hello page
	systemctl kill -s KILL cleat-demo
	is "systemd brings it back" hello page
	is "unit is enabled" enabled systemctl is-enabled cleat-demo

	is "memory limit" 137 code cleat run --network none --name oom -m 16m busybox sh -c 'x=a; while :; do x=$x$x; done'
	is "OOMKilled" "true 137" cleat inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' oom
	is "limits in the kernel" "33554432 50000 100000 20 0" run -m 32m --cpus 0.5 --pids-limit 20 --cpuset-cpus 0 busybox \
		sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max cpuset.cpus'

	cleat run -d --network none --name devices busybox sleep 10000 >/dev/null
	is "device filter" 1 open_device
	systemctl daemon-reload
	is "device filter after daemon-reload" 1 open_device
	systemctl daemon-reexec
	is "running after daemon-reexec" running state devices

	cleat run -d --network none --name term busybox sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done' >/dev/null
	for _ in $(seq 100); do cleat logs term | grep -q up && break; sleep 0.2; done
	systemctl stop cleat-term
	is "systemctl stop is graceful" "exited 3" cleat inspect -f '{{.State.Status}} {{.State.ExitCode}}' term
	is "freezer" "paused running" sh -c 'cleat pause devices >/dev/null; cleat inspect -f "{{.State.Status}}" devices; cleat unpause devices >/dev/null; cleat inspect -f "{{.State.Status}}" devices'

	cleat run -d --network none --restart=always --name stopped-always busybox sleep 10000 >/dev/null
	cleat run -d --network none --restart=unless-stopped --name stopped-unless busybox sleep 10000 >/dev/null
	cleat run -d --network none --restart=unless-stopped --name running-unless busybox sleep 10000 >/dev/null
	cleat stop stopped-always stopped-unless >/dev/null
	is "check before the reboot" "no problems found" cleat system check
}

second_boot() {
	is "boot service is back" hello page
	is "always is back although it was stopped" running state stopped-always
	is "unless-stopped is not, if it was stopped" exited state stopped-unless
	is "unless-stopped is, if it ran" running state running-unless
	is "without a policy nothing is" exited state term
	is "check after the reboot" "no problems found" cleat system check
}

if [ ! -e booted ]; then
	first_boot
	touch booted
	sync
	echo DONE
	systemctl reboot
else
	second_boot
	echo DONE
	systemctl poweroff
fi
