// Command hello is the web server of "make demo": static, a few megabytes, all
// that its image holds. With "get" before the address it is its own client.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	switch {
	case len(os.Args) == 2:
		log.Fatal(serve(os.Args[1]))
	case len(os.Args) == 3 && os.Args[1] == "get":
		if err := get(os.Args[2]); err != nil {
			log.Fatal(err)
		}
	default:
		log.Fatal("usage: hello [get] ADDRESS")
	}
}

func serve(address string) error {
	host, _ := os.Hostname() // decoration; empty is fine
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		log.Print(r.Method, " ", r.URL.Path)
		fmt.Fprintf(w, "hello from process %d on %s: this container is a systemd unit\n", os.Getpid(), host)
	})
	server := http.Server{Addr: address, ReadHeaderTimeout: 5 * time.Second}
	log.Print("listening on ", address)
	return server.ListenAndServe()
}

// get prints the page, and tries for ten seconds to reach a server that is
// still starting.
func get(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return err
	}
	for {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			defer resp.Body.Close()
			_, err = io.Copy(os.Stdout, resp.Body)
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
