// Command peer is both ends of a conversation, for tests of networks: a server
// that tells who it is and whom it talks to, and a client.
//
//	peer serve NETWORK:ADDR...    for example tcp::80 udp4:127.0.0.1:53
//	peer inherit                  the same on the sockets of sd_listen_fds(3)
//	peer ask NETWORK ADDR         prints the answer, fails after 2 s without one
//	peer crowd NETWORK ADDR N     has so many ask at once
//	peer storm ADDR N [PAUSE]     has so many ask over TCP again and again until stdin ends
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
	"sync/atomic"
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
	case len(args) == 1 && args[0] == "inherit":
		return inherit()
	case len(args) == 4 && args[0] == "crowd":
		return crowd(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "storm":
		return storm(args[1], args[2], "0s")
	case len(args) == 4 && args[0] == "storm":
		return storm(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "ask":
		return ask(args[1], args[2])
	case len(args) == 4 && args[0] == "pour":
		return pour(args[1], args[2], args[3])
	}
	return errors.New("usage: peer serve NETWORK:ADDR... | inherit | ask NETWORK ADDR | crowd NETWORK ADDR N | storm ADDR N [PAUSE] | pour NETWORK ADDR BYTES")
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
	acceptFrom(l, failed)
	return nil
}

func acceptFrom(l net.Listener, failed chan<- error) {
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
	readFrom(c, failed)
	return nil
}

func readFrom(c net.PacketConn, failed chan<- error) {
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
}

// inherit serves the sockets that were handed over, of which it first prints how
// many there are and what they are called.
func inherit() error {
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("LISTEN_PID is %q, this is process %d", pid, os.Getpid())
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return err
	}
	fmt.Println(n, os.Getenv("LISTEN_FDNAMES"))
	failed := make(chan error)
	for i := range n {
		f := os.NewFile(uintptr(3+i), "socket")
		if l, err := net.FileListener(f); err == nil {
			acceptFrom(l, failed)
			continue
		}
		c, err := net.FilePacketConn(f)
		if err != nil {
			return fmt.Errorf("descriptor %d: %w", 3+i, err)
		}
		readFrom(c, failed)
	}
	fmt.Println("ready")
	return <-failed
}

// greeting is the server's host name and the client's address.
func greeting(from net.Addr) string {
	name, _ := os.Hostname()
	host, _, _ := net.SplitHostPort(from.String())
	return name + " " + host + "\n"
}

// How long an answer may take, and how long to one of many.
const (
	patience      = 2 * time.Second
	crowdPatience = 30 * time.Second
)

func ask(network, addr string) error {
	answer, err := asked(network, addr, patience)
	if err == nil {
		fmt.Println(answer)
	}
	return err
}

// errCut means that a connection was there and ended without an answer.
var errCut = errors.New("cut off")

func asked(network, addr string, patience time.Duration) (string, error) {
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "who\n"); err != nil {
		return "", fmt.Errorf("%w: %w", errCut, err)
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil && answer == "" {
		return "", fmt.Errorf("%w: %w", errCut, err)
	}
	return strings.TrimSpace(answer), nil
}

// crowd fails unless all get an answer.
func crowd(network, addr, clients string) error {
	n, err := strconv.Atoi(clients)
	if err != nil {
		return err
	}
	errs := make(chan error, n)
	for range n {
		go func() { _, err := asked(network, addr, crowdPatience); errs <- err }()
	}
	var all []error
	for range n {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// storm prints how many asked, and how many of their connections were cut off.
func storm(addr, clients, pause string) error {
	n, err := strconv.Atoi(clients)
	if err != nil {
		return err
	}
	between, err := time.ParseDuration(pause)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	var count, cut atomic.Int64
	errs := make(chan error, n)
	for range n {
		go func() { errs <- askOn(done, addr, between, &count, &cut) }()
	}
	var all []error
	for range n {
		all = append(all, <-errs)
	}
	fmt.Println(count.Load(), cut.Load())
	return errors.Join(all...)
}

func askOn(done <-chan struct{}, addr string, pause time.Duration, count, cut *atomic.Int64) error {
	for {
		select {
		case <-done:
			return nil
		case <-time.After(pause):
		}
		_, err := asked("tcp", addr, crowdPatience)
		count.Add(1)
		if errors.Is(err, errCut) && !errors.Is(err, os.ErrDeadlineExceeded) {
			cut.Add(1)
		} else if err != nil {
			return err
		}
	}
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
