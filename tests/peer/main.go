// Command peer is both ends of a conversation, for tests of networks: a server
// that tells who it is and whom it talks to, and a client.
//
//	peer serve NETWORK:ADDR...    for example tcp::80 udp4:127.0.0.1:53
//	peer ask NETWORK ADDR         prints the answer, fails after 2 s without one
//	peer pour NETWORK ADDR BYTES  sends so many bytes over TCP and waits for the end
//
// A server called over TCP with a line "drain" reads the connection to its end.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 1 && args[0] == "serve":
		return serve(args[1:])
	case len(args) == 3 && args[0] == "ask":
		return ask(args[1], args[2])
	case len(args) == 4 && args[0] == "pour":
		return pour(args[1], args[2], args[3])
	}
	return errors.New("usage: peer serve NETWORK:ADDR... | ask NETWORK ADDR | pour NETWORK ADDR BYTES")
}

func serve(listens []string) error {
	failed := make(chan error)
	for _, l := range listens {
		network, addr, _ := strings.Cut(l, ":")
		start := serveStream
		if strings.HasPrefix(network, "udp") {
			start = servePackets
		}
		if err := start(network, addr, failed); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	return <-failed
}

func serveStream(network, addr string, failed chan<- error) error {
	l, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				failed <- err
				return
			}
			go talk(c)
		}
	}()
	return nil
}

func talk(c net.Conn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 64<<10)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	if line == "drain\n" {
		n, _ := io.Copy(io.Discard, in)
		fmt.Fprintln(c, n)
		return
	}
	_, _ = io.WriteString(c, greeting(c.RemoteAddr()))
}

func servePackets(network, addr string, failed chan<- error) error {
	c, err := net.ListenPacket(network, addr)
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				failed <- err
				return
			}
			_, _ = c.WriteTo([]byte(greeting(from)), from)
		}
	}()
	return nil
}

// greeting is the server's host name and the client's address.
func greeting(from net.Addr) string {
	name, _ := os.Hostname()
	host, _, _ := net.SplitHostPort(from.String())
	return name + " " + host + "\n"
}

const patience = 2 * time.Second

func ask(network, addr string) error {
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "who\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil && answer == "" {
		return err
	}
	fmt.Println(strings.TrimSpace(answer))
	return nil
}

func pour(network, addr, bytes string) error {
	n, err := strconv.ParseInt(bytes, 10, 64)
	if err != nil {
		return err
	}
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "drain\n"); err != nil {
		return err
	}
	chunk := make([]byte, 256<<10)
	for left := n; left > 0; {
		w, err := c.Write(chunk[:min(left, int64(len(chunk)))])
		if err != nil {
			return err
		}
		left -= int64(w)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.TrimSpace(answer) != bytes {
		return fmt.Errorf("%s bytes arrived, want %s", strings.TrimSpace(answer), bytes)
	}
	return nil
}
