package vm

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// testPowerCuts cuts the power in the middle of commands. What a command said it
// had done has to be there at the next boot, what it had not yet done must not be
// half there, and the file system has to be sound.
func testPowerCuts(t *testing.T, m *machine) {
	for _, tt := range []struct {
		name   string
		script string // acknowledges each command
		acks   int    // cut some time after so many
		test   func(t *testing.T, m *machine, acked []string)
	}{
		{"run", `for i in $(seq 100); do
			idle --restart=always --name run$i && ack run$i
		done`, 3, ran},
		{"import", `for i in $(seq 100); do
			mkdir /tmp/i && seq $i 200000 >/tmp/i/numbers && cp hello /tmp/i
			tar -C /tmp/i -c . | cleat import - import$i && ack import$i
			rm -r /tmp/i
		done`, 2, imported},
		{"pull", `systemd-run -q --unit=registry -p Type=notify /opt/test/registry 127.0.0.1:5000 12
		for i in $(seq 12); do
			cleat pull -q 127.0.0.1:5000/numbers:$i && ack numbers:$i
		done`, 2, pulled},
		{"rm", `for i in $(seq 8); do
			cleat create --network none --restart=always --name rm$i -v volume$i:/v busybox true
		done
		sync
		for i in $(seq 8); do
			cleat rm rm$i && ack rm$i
		done`, 2, removed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m.ask(t, tt.script)
			acked := acknowledged(t, m, tt.acks)
			t.Logf("power cut after %s", strings.Join(acked, " "))
			m.checkDisk(t)
			m.start(t)
			m.run(t, "systemctl is-system-running --wait || systemctl --failed")
			tt.test(t, m, acked)
			m.run(t, "cleat system check --repair")
			m.is(t, "no problems found", "cleat system check")
			m.is(t, "hello", "page")
		})
	}
}

// acknowledged cuts the power at a random moment after n acknowledgements and
// returns all that were made by then.
func acknowledged(t *testing.T, m *machine, n int) (acked []string) {
	t.Helper()
	limit := time.After(scriptTime)
	for len(acked) < n {
		select {
		case ack := <-m.console.lines:
			acked = append(acked, ack)
		case <-m.ended:
			t.Fatalf("the machine ended; the console:\n%s", m.console.tail())
		case <-limit:
			t.Fatalf("acknowledged so far: %q; the console:\n%s", acked, m.console.tail())
		}
	}
	<-time.After(rand.N(2 * time.Second)) // random on purpose: each run cuts elsewhere
	m.cut()
	for {
		select {
		case ack := <-m.console.lines:
			acked = append(acked, ack)
		default:
			return acked
		}
	}
}

// ran: containers whose run was acknowledged run again, and one that was not may
// have been created.
func ran(t *testing.T, m *machine, acked []string) {
	for _, name := range acked {
		m.is(t, "running enabled", fmt.Sprintf("state %s; systemctl is-enabled cleat-%s", name, name))
	}
	m.is(t, "", `for name in $(cleat ps -a --format '{{.Names}}' -f name='^run[0-9]'); do
			case $(state $name) in running | created) ;; *) echo $name; state $name ;; esac
			cleat rm -f $name >/dev/null
		done`)
}

// imported: images that were acknowledged have every byte.
func imported(t *testing.T, m *machine, acked []string) {
	for _, name := range acked {
		m.is(t, "1 same", fmt.Sprintf(`
			run %[1]s /hello 2>&1 | grep -c usage
			c=$(cleat create --network none %[1]s /hello)
			layer=$(cleat inspect -f '{{.GraphDriver.Data.LowerDir}}' $c)
			seq %[2]s 200000 | cmp - $layer/numbers && cmp hello $layer/hello && echo same
			cleat rm $c >/dev/null`, name, strings.TrimPrefix(name, "import")))
	}
}

// pulled: images that were acknowledged have every byte, and so has the next one,
// of which some may have been there before.
func pulled(t *testing.T, m *machine, acked []string) {
	next := fmt.Sprintf("numbers:%d", min(len(acked)+1, 12))
	m.run(t, "systemd-run -q --unit=registry -p Type=notify /opt/test/registry 127.0.0.1:5000 12; cleat pull -q 127.0.0.1:5000/"+next+"; systemctl stop registry")
	for _, name := range append(acked, next) {
		m.is(t, name+" same", fmt.Sprintf(`
			c=$(cleat create --network none 127.0.0.1:5000/%[1]s) || exit
			cleat cp $c:/name - | tar -xO
			cleat cp $c:/numbers - | tar -xO | cmp - <(seq %[2]s 200000) && echo same
			cleat rm $c >/dev/null`, name, strings.TrimPrefix(name, "numbers:")))
	}
}

// removed: what was removed stays so, unit and all; volumes with names stay.
func removed(t *testing.T, m *machine, acked []string) {
	for _, name := range acked {
		m.is(t, "1 gone", fmt.Sprintf("code cleat inspect %[1]s; [ -e /etc/systemd/system/cleat-%[1]s.service ] || echo gone", name))
	}
	m.is(t, "8", "ls -d /var/lib/cleat/volumes/volume* | wc -l")
	m.run(t, "for name in $(cleat ps -a --format '{{.Names}}' -f name='^rm[0-9]'); do cleat rm -f $name; done")
}
