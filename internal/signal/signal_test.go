package signal

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		in   string
		want int // 0 means an error
	}{
		"name with SIG":            {"SIGTERM", 15},
		"name without SIG":         {"quit", 3},
		"number":                   {"9", 9},
		"last number":              {"64", 64},
		"alias":                    {"SIGPOLL", 29},
		"first real-time signal":   {"RTMIN", 34},
		"real-time from the start": {"SIGRTMIN+3", 37},
		"real-time from the end":   {"rtmax-14", 50},
		"last real-time signal":    {"RTMAX", 64},
		"beyond the last":          {"RTMIN+31", 0},
		"before the first":         {"RTMIN-1", 0},
		"double sign":              {"RTMIN++1", 0},
		"zero":                     {"0", 0},
		"negative":                 {"-9", 0},
		"too large":                {"65", 0},
		"empty":                    {"", 0},
		"twice SIG":                {"SIGSIGTERM", 0},
		"nonsense":                 {"SIGFOO", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tt.in)
			if got != tt.want || (err != nil) != (tt.want == 0) {
				t.Errorf("Parse(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
			}
		})
	}
}

func TestNumbersAreTheKernels(t *testing.T) {
	for n := 1; n < 32; n++ {
		if got := unix.SignalNum(Name(n)); int(got) != n {
			t.Errorf("%s is %d here and %d in x/sys", Name(n), n, got)
		}
	}
}

func TestNamesAreReadBack(t *testing.T) {
	for n := 1; n <= 64; n++ {
		if got, err := Parse(Name(n)); got != n || err != nil {
			t.Errorf("Parse(%q) = %d, %v; want %d", Name(n), got, err, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"SIGTERM", "9", "RTMIN+3", "RTMAX-99999999999999999999", "sig", "+9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if (err == nil) != (1 <= n && n <= 64) {
			t.Errorf("Parse(%q) = %d, %v", s, n, err)
		}
	})
}
