package contexts

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// Host is where a command runs.
type Host struct {
	Name string // of the machine, or of an entry of ssh's configuration; "" is this machine
	User string // "" leaves it to ssh
	Port string // "" leaves it to ssh

	Socket string // unix://: a socket of this machine
}

// Remote reports whether it is another machine.
func (h Host) Remote() bool { return h.Name != "" }

// ParseHost reads ssh://[USER@]HOST[:PORT], unix://PATH, or "" for this machine.
func ParseHost(s string) (Host, error) {
	kind, rest, ok := strings.Cut(s, "://")
	switch {
	case s == "":
		return Host{}, nil
	case ok && kind == "unix" && strings.HasPrefix(rest, "/"):
		return Host{Socket: rest}, nil
	case ok && (kind == "tcp" || kind == "http" || kind == "https"):
		return Host{}, fmt.Errorf("host %q: cleat reaches other machines with ssh alone (ssh://USER@HOST); over tcp, use the Docker client: docker -H %s: %w", s, s, spec.ErrUnsupport)
	case !ok || kind != "ssh":
		return Host{}, invalidHost(s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return Host{}, invalidHost(s)
	}
	h := Host{Name: u.Hostname(), Port: u.Port()}
	if u.User != nil {
		if _, given := u.User.Password(); given {
			return Host{}, fmt.Errorf("host %q: a password has no place there: use a key: %w", u.Redacted(), spec.ErrInvalid)
		}
		h.User = u.User.Username()
	}
	if h.Port != "" {
		if n, err := strconv.ParseUint(h.Port, 10, 16); err != nil || n == 0 {
			return Host{}, invalidHost(s)
		}
	}
	// What begins with a dash, ssh takes for an option.
	if net.ParseIP(h.Name) == nil && !isWord(h.Name) || h.User != "" && !isWord(h.User) {
		return Host{}, invalidHost(s)
	}
	return h, nil
}

// isWord reports whether s can be the name of a machine or a user.
func isWord(s string) bool {
	return s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-+@", r)
	})
}

func invalidHost(s string) error {
	return fmt.Errorf("host %q: it has the form ssh://[USER@]HOST[:PORT]: %w", s, spec.ErrInvalid)
}

// SSH returns the arguments with which ssh runs a command of the shell there. With
// tty it gets a terminal, without input nothing to read.
func (h Host) SSH(command string, tty, input bool) []string {
	args := []string{"ssh", "-o", "ConnectTimeout=30"}
	if h.User != "" {
		args = append(args, "-l", h.User)
	}
	if h.Port != "" {
		args = append(args, "-p", h.Port)
	}
	switch {
	case tty:
		args = append(args, "-t")
	case !input:
		args = append(args, "-n", "-T")
	default:
		args = append(args, "-T")
	}
	return append(args, "--", h.Name, command)
}

// String returns the URL of the host.
func (h Host) String() string {
	switch {
	case h.Socket != "":
		return "unix://" + h.Socket
	case h.Name == "":
		return ""
	}
	u := url.URL{Scheme: "ssh", Host: h.Name}
	if h.Port != "" {
		u.Host = net.JoinHostPort(h.Name, h.Port)
	} else if strings.Contains(h.Name, ":") {
		u.Host = "[" + h.Name + "]"
	}
	if h.User != "" {
		u.User = url.User(h.User)
	}
	return u.String()
}

// Quote makes one word for a shell of s.
func Quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
