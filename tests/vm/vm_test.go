// Package vm shows on a virtual machine what the embedded host cannot: a real
// systemd as PID 1, limits that bite, and a reboot.
package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// bootTime bounds one boot with its checks; without hardware virtualization
// everything is about ten times slower.
const bootTime = 4 * time.Minute

// TestVM boots the image that scripts/vm-image makes, twice, and reports the
// checks of guest.sh.
func TestVM(t *testing.T) {
	image := os.Getenv("CLEAT_VM_IMAGE")
	if image == "" {
		t.Skip("no image: use 'make test-vm'")
	}
	disk := filepath.Join(t.TempDir(), "disk.img")
	if out, err := exec.Command("cp", "--sparse=always", filepath.Join(image, "disk.img"), disk).CombinedOutput(); err != nil {
		t.Fatalf("copy disk: %v\n%s", err, out)
	}
	for n, name := range []string{"first boot", "second boot"} {
		t.Run(name, func(t *testing.T) {
			console := boot(t, image, disk)
			checks := 0
			for line := range strings.Lines(console) {
				line = strings.TrimSpace(line)
				verdict, text, _ := strings.Cut(line, "ok ")
				if verdict != "" && verdict != "not " || !strings.Contains(line, "ok ") {
					continue
				}
				checks++
				t.Run(strings.SplitN(text, ":", 2)[0], func(t *testing.T) {
					if verdict != "" {
						t.Error(text)
					}
				})
			}
			if !strings.Contains(console, "DONE") || checks == 0 {
				t.Fatalf("the guest did not finish boot %d; its console:\n%s", n+1, tail(console))
			}
		})
	}
}

// boot runs the machine until it ends and returns what its console said.
func boot(t *testing.T, image, disk string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-nographic", "-no-reboot", "-nic", "none",
		"-kernel", filepath.Join(image, "vmlinuz"), "-initrd", filepath.Join(image, "initrd"),
		"-append", "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=no",
		"-drive", fmt.Sprintf("file=%s,if=virtio,format=raw,cache=unsafe", disk))
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	if err := cmd.Run(); err != nil {
		t.Fatalf("qemu: %v; the console:\n%s", err, tail(console.String()))
	}
	escapes := regexp.MustCompile(`\x1b\[[0-9;?!]*[a-zA-Z]`)
	return escapes.ReplaceAllString(strings.ReplaceAll(console.String(), "\r", "\n"), "")
}

func tail(s string) string { return s[max(0, len(s)-4000):] }
