package supervisor_test

import (
	"testing"

	"github.com/cleat-project/cleat/unitgen"
)

func BenchmarkConnect(b *testing.B) {
	for b.Loop() {
		c := connect(b)
		if _, err := c.Version(b.Context()); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

func BenchmarkStartTransient(b *testing.B) {
	c := connect(b)
	name := unitName(b, ".service")
	for b.Loop() {
		u := service(name, "", unitgen.Property{Name: "CollectMode", Value: "inactive-or-failed"}, unitgen.Property{Name: "Type", Value: "oneshot"})
		u.Properties[1].Value = []unitgen.Exec{{Path: "/bin/true", Args: []string{"true"}}}
		if err := c.StartTransient(b.Context(), u); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProperties(b *testing.B) {
	c := connect(b)
	name := unitName(b, ".service")
	if err := c.StartTransient(b.Context(), service(name, "exec sleep 1000")); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Properties(b.Context(), name); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnits(b *testing.B) {
	c := connect(b)
	for b.Loop() {
		if _, err := c.Units(b.Context(), "cleat-*.service"); err != nil {
			b.Fatal(err)
		}
	}
}
