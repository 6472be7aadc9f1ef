package unitgen

import (
	"strings"
	"testing"
)

// A container that looks names up starts after the name server's socket, and so
// stops before it.
func TestNameServerIsThereFirst(t *testing.T) {
	t.Parallel()
	for names, want := range map[bool]string{
		false: "cleat-stdiod.socket\n",
		true:  "cleat-stdiod.socket cleat-netd.socket\n",
	} {
		in := testInput
		in.Names = names
		u, err := Service(web(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"After=", "Wants="} {
			if text := Text(u); !strings.Contains(text, key+want) {
				t.Errorf("names %v: no line %s%s in\n%s", names, key, want, text)
			}
		}
	}
}
