package health

import (
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestNoticeFilter(t *testing.T) {
	now := time.Now()
	for in, want := range map[string]string{
		"READY=1": "READY=1",
		"READY=1\nSTATUS=serving\nMAINPID=1\nERRNO=2":        "READY=1\nSTATUS=serving",
		"RELOADING=1\nMONOTONIC_USEC=5":                      "RELOADING=1",
		"STOPPING=1\nWATCHDOG=1\n":                           "STOPPING=1\nWATCHDOG=1",
		"WATCHDOG=trigger\nWATCHDOG_USEC=1":                  "",
		"READY=0\nREADY=\nREADY\n READY=1\nREADY=1 ":         "",
		"FDSTORE=1\nFDNAME=x\nFDSTOREREMOVE=1":               "",
		"BUSERROR=x\nEXIT_STATUS=1\nNOTIFYACCESS=all":        "",
		"RESTART_RESET=1\nBARRIER=1\nINVOCATION_ID=x":        "",
		"STATUS=" + strings.Repeat("é", 300):                 "STATUS=" + strings.Repeat("é", 256),
		"STATUS=a\x1b[0mb\x00c\xffd\r":                       "STATUS=a?[0mb?c?d?",
		"STATUS=":                                            "STATUS=",
		"EXTEND_TIMEOUT_USEC=5":                              "EXTEND_TIMEOUT_USEC=5",
		"EXTEND_TIMEOUT_USEC=infinity":                       "",
		"EXTEND_TIMEOUT_USEC=0\nEXTEND_TIMEOUT_USEC=-1":      "",
		"EXTEND_TIMEOUT_USEC=9223372036854775807":            "EXTEND_TIMEOUT_USEC=600000000",
		"EXTEND_TIMEOUT_USEC=18446744073709551615\nREADY=1":  "READY=1",
		"STATUS=x\nEXTEND_TIMEOUT_USEC=1\nMAINPID=1\nSTATUS": "STATUS=x\nEXTEND_TIMEOUT_USEC=1\nSTATUS=",
	} {
		var f noticeFilter
		if got := f.pass(in, now); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// However often it asks, a payload gets no more time than that.
func TestExtensionsEnd(t *testing.T) {
	var f noticeFilter
	start := time.Now()
	for at, want := range map[time.Duration]string{
		0: "EXTEND_TIMEOUT_USEC=60000000", 9*time.Minute + 30*time.Second: "EXTEND_TIMEOUT_USEC=30000000", extendLimit: "", time.Hour: "",
	} {
		f.extendUntil = start.Add(extendLimit)
		if got := f.pass("EXTEND_TIMEOUT_USEC=60000000", start.Add(at)); got != want {
			t.Errorf("after %v: %q, want %q", at, got, want)
		}
	}
}

// Nothing but the fields that are meant gets through, in a form that systemd takes.
func FuzzNoticeFilter(f *testing.F) {
	f.Add("READY=1\nSTATUS=x\nMAINPID=1")
	f.Add("EXTEND_TIMEOUT_USEC=1")
	f.Fuzz(func(t *testing.T, message string) {
		var filter noticeFilter
		out := filter.pass(message, time.Now())
		if !utf8.ValidString(out) || strings.ContainsAny(out, "\x00\x1b\r") {
			t.Errorf("%q gives %q", message, out)
		}
		if out == "" {
			return
		}
		for line := range strings.SplitSeq(out, "\n") {
			name, value, _ := strings.Cut(line, "=")
			switch name {
			case "STATUS":
			case "READY", "RELOADING", "STOPPING", "WATCHDOG":
				if value != "1" {
					t.Errorf("%q passes", line)
				}
			case "EXTEND_TIMEOUT_USEC":
				if n, err := strconv.ParseUint(value, 10, 64); err != nil || n > 600_000_000 {
					t.Errorf("%q passes", line)
				}
			default:
				t.Errorf("%q passes", line)
			}
		}
	})
}
