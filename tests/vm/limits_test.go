package vm

import (
	"fmt"
	"testing"
)

// testLimits is about limits that bite, which they do nowhere but on a real
// cgroup2.
func testLimits(t *testing.T, m *machine) {
	m.is(t, "137", "code cleat run --network none --name oom -m 16m busybox sh -c 'x=a; while :; do x=$x$x; done'")
	m.is(t, "true 137", "cleat inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' oom; cleat rm oom >/dev/null")
	// Not the whole container ends, as with systemd's default.
	m.is(t, "survived", `run -m 16m busybox sh -c '(x=a; while :; do x=$x$x; done) 2>/dev/null; echo survived' 2>/dev/null`)

	m.is(t, "fork refused", `run --pids-limit 20 busybox sh -c '
		(for i in $(seq 30); do sleep 100 & done) 2>&1 | grep -q fork && echo fork refused'`)
	m.is(t, "1", "run --pids-limit 6 busybox true 2>&1 | grep -c 'limit on processes is too small'")
	m.is(t, "throttled", `run --cpus 0.1 busybox sh -c '
		i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done
		grep -q "nr_throttled [1-9]" /sys/fs/cgroup/cpu.stat && echo throttled'`)
	m.is(t, "1", `run --cpuset-cpus 1 busybox sed -n 's/Cpus_allowed_list:\t//p' /proc/self/status`)
	// 4 MB at 1 MB a second take at least half of the time that they should.
	const copies = `before=$(cut -d. -f1 /proc/uptime)
		run --device /dev/nvme0n1:/dev/given:r --device-%s-bps /dev/nvme0n1:1mb busybox dd if=%s of=%s bs=64k count=64 2>/dev/null
		[ $(($(cut -d. -f1 /proc/uptime) - before)) -ge 2 ] && echo slow`
	m.is(t, "slow", fmt.Sprintf(copies, "read", "/dev/given", "/dev/null skip=30000 iflag=direct"))
	m.is(t, "slow", fmt.Sprintf(copies, "write", "/dev/zero", "/file oflag=direct"))
}

// testChangedLimits changes limits while a container runs, by cleat and by systemctl.
// Each shows what the other has done, and the last one counts, for a boot service
// as for an ordinary one, over a reload and a restart.
func testChangedLimits(t *testing.T, m *machine) {
	const (
		inForce = "; cgroup limits memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus io.max"
		known   = `; cleat inspect -f '{{with .HostConfig}}{{.Memory}} {{.NanoCpus}} {{.PidsLimit}} {{.CpusetCpus}}{{end}}' limits`
	)
	for _, policy := range []string{"always", "no"} {
		m.run(t, "cleat rm -f limits; idle --restart="+policy+` --name limits -m 32m --memory-swap 48m --memory-reservation 16m --cpus 0.5 --cpu-shares 512 \
			--pids-limit 20 --cpuset-cpus 0 --device-read-bps /dev/nvme0n1:2mb --device-write-iops /dev/nvme0n1:200`)
		m.is(t, "33554432 16777216 16777216 50000 100000 50 20 0 259:0 rbps=2097152 wbps=max riops=max wiops=200", "true"+inForce)
		m.is(t, "50331648 16777216 16777216 25000 100000 50 30 0-1 259:0 rbps=2097152 wbps=max riops=max wiops=200",
			"cleat update -m 48m --memory-swap 64m --cpus 0.25 --pids-limit 30 --cpuset-cpus 0-1 limits >/dev/null"+inForce)
		m.is(t, "50331648 30", "shows limits MemoryMax; shows limits TasksMax")
		m.is(t, "67108864 750000000 40 1", "systemctl set-property cleat-limits MemoryMax=64M CPUQuota=75% TasksMax=40 AllowedCPUs=1"+known)
		m.is(t, "67108864 750000000 40 1", "systemctl daemon-reload"+known)
		m.is(t, "83886080 300000000 40 1", "cleat update -m 80m --memory-swap 80m --cpus 0.3 limits >/dev/null"+known)
		m.is(t, "83886080 300000000 40 1", "systemctl daemon-reload"+known)
		m.is(t, "83886080 30000 100000 40 1", "cgroup limits memory.max cpu.max pids.max cpuset.cpus")
		if policy == "always" { // an ordinary container's unit, and what was set for it, ends with its run
			m.is(t, "83886080 300000000 40 1", "cleat restart limits >/dev/null"+known)
		}
	}
	m.run(t, "cleat rm -f limits")
}

// testReload is about what lives in systemd alone: it must come through a reload
// and a new systemd.
func testReload(t *testing.T, m *machine) {
	const open = `number=$(printf '%d %d' $(stat -c '0x%t 0x%T' /dev/vda))
		cleat exec devices sh -c '
		(mknod /disk b '"$number"'; dd if=/disk of=/dev/null bs=512 count=1; rm -f /disk) 2>&1 | grep -c "not permitted"
		dd if=/dev/given of=/dev/null bs=512 count=1 2>/dev/null && echo readable
		(: >/dev/given) 2>&1 | grep -c "not permitted"'`
	m.run(t, "idle --device /dev/nvme0n1:/dev/given:r --name devices")
	m.is(t, "1 readable 1", open)
	m.is(t, "1 readable 1", "systemctl daemon-reload; "+open)
	m.is(t, "1 readable 1", "systemctl daemon-reexec; "+open)
	m.is(t, "running", "state devices")
	m.is(t, "paused running", "cleat pause devices >/dev/null; state devices; cleat unpause devices >/dev/null; state devices")
	m.run(t, "cleat rm -f devices")
}
