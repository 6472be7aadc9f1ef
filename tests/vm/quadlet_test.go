package vm

import "testing"

// testQuadlet has systemd make units of files that describe an image to be built, a
// volume and a container, at a daemon-reload and at boot, and of a broken one that it
// can only complain about.
func testQuadlet(t *testing.T, m *machine) {
	m.run(t, `
		mkdir -p /etc/containers/systemd /srv/q-site
		printf 'FROM busybox\nRUN echo hello >/greeting\n' >/srv/q-site/Containerfile
		printf '[Build]\nImageTag=q-site\nSetWorkingDirectory=/srv/q-site\nNetwork=none\n' >/etc/containers/systemd/q-site.build
		printf '[Volume]\n' >/etc/containers/systemd/q-data.volume
		printf '[Container]\nImage=x\nMemory=lots\n' >/etc/cleat/q-bad.container
		cat >/etc/cleat/q-web.container <<-'END'
			[Container]
			ContainerName=q-web
			Image=q-site.build
			Volume=q-data.volume:/data
			Network=none
			StopSignal=SIGKILL
			Exec=sh -c "cat /greeting >>/data/said; exec sleep 10000"
			[Install]
			WantedBy=multi-user.target
		END
		systemctl daemon-reload
		systemctl start q-web.service`)
	const complaint = "journalctl -q -b -t cleat-generator -o cat | grep -c q-bad.container:3:.Memory="
	m.is(t, "running active active active", "state q-web; systemctl is-active q-web.service q-site-build.service q-data-volume.service")
	m.is(t, "1", complaint)
	m.stop(t, "reboot")
	m.start(t)
	settled(t, m)
	m.is(t, "running active", "state q-web; systemctl is-active cleat-q-web.service")
	m.is(t, "1", complaint)
	m.is(t, "hello hello", "cleat exec q-web cat /data/said")
	m.run(t, `
		rm -r /etc/containers /srv/q-site /etc/cleat/q-*
		systemctl stop q-web.service
		systemctl daemon-reload`)
	m.is(t, "1", "code cleat inspect q-web")
	m.run(t, "cleat volume rm systemd-q-data; cleat rmi q-site")
	m.is(t, "no problems found", "cleat system check")
}
