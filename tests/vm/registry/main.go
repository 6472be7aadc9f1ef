// Command registry is a registry for tests in a machine that has no other. It
// holds the images numbers:1, numbers:2… up to the count on its command line, and
// tells systemd when it is ready.
//
//	registry ADDRESS COUNT
//
// Image N has two layers: /numbers with the numbers from N to 200000, a line for
// each, and /name with "numbers:N".
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal("registry: ", err)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: registry ADDRESS COUNT")
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	server := http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	go func() { failed <- server.Serve(l) }()
	for i := 1; i <= count; i++ {
		if err := push(args[0], i); err != nil {
			return err
		}
	}
	if err := ready(); err != nil {
		return err
	}
	return <-failed
}

// push puts image i into the registry.
func push(address string, i int) error {
	tag, err := name.NewTag(fmt.Sprintf("%s/numbers:%d", address, i), name.Insecure)
	if err != nil {
		return err
	}
	var numbers bytes.Buffer
	for n := i; n <= 200_000; n++ {
		fmt.Fprintln(&numbers, n)
	}
	img := empty.Image
	for _, file := range []struct {
		name string
		data []byte
	}{{"numbers", numbers.Bytes()}, {"name", []byte("numbers:" + strconv.Itoa(i) + "\n")}} {
		layer, err := layerOf(file.name, file.data)
		if err != nil {
			return err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return err
		}
	}
	img, err = mutate.Config(img, v1.Config{Cmd: []string{"/none"}})
	if err != nil {
		return err
	}
	return remote.Write(tag, img)
}

// layerOf is a layer with one file.
func layerOf(name string, data []byte) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

// ready tells the service manager, if there is one.
func ready() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.WriteString(c, "READY=1")
	return err
}
