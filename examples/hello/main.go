// Command hello is the web server of "make demo": static, a few megabytes, all
// that its image holds.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: hello ADDRESS")
	}
	host, _ := os.Hostname() // decoration; empty is fine
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		log.Print(r.Method, " ", r.URL.Path)
		fmt.Fprintf(w, "hello from process %d on %s: this container is a systemd unit\n", os.Getpid(), host)
	})
	server := http.Server{Addr: os.Args[1], ReadHeaderTimeout: 5 * time.Second}
	log.Print("listening on ", os.Args[1])
	log.Fatal(server.ListenAndServe())
}
