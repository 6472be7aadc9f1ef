package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cleat-project/cleat/internal/pause"
	"github.com/cleat-project/cleat/spec"
)

// Options configure a Client. The zero value is right for a machine without
// configuration.
type Options struct {
	Hosts map[string]Host // by registry, for example "docker.io" or "10.0.0.7:5000"

	// ConfigDir holds Docker's config.json with credentials. "" means
	// $DOCKER_CONFIG, else ~/.docker.
	ConfigDir string

	// Credentials, if there are any, go before those of ConfigDir, to the server
	// that they are for.
	Credentials Credentials

	// CertDir has a directory per host with *.crt to trust and *.cert and *.key to
	// show, as Docker's. "" means /etc/docker/certs.d.
	CertDir string

	UserAgent string        // "" means "cleat"
	RetryWait time.Duration // before the first repeated attempt, doubled each time; 0 means 250 ms
	Attempts  int           // without any progress before a download is given up; 0 means 6
	StallTime time.Duration // for which a server may send nothing of a blob; 0 means a minute
}

// Host says how one registry is spoken to. The zero value means TLS, checked,
// except on the loopback interface, where plain HTTP is tried as well.
type Host struct {
	PlainHTTP bool     // plain HTTP is allowed if TLS does not answer
	Insecure  bool     // certificates are not checked; implies PlainHTTP
	Mirrors   []string // hosts asked first, in this order; each may have its own entry
}

// Client is one user of registries. It is safe for concurrent use.
type Client struct {
	opt Options

	mu         sync.Mutex
	transports map[string]*http.Transport // by host; "" is the one for hosts without special needs
}

// New returns a client. It does not touch disk or network.
func New(opt Options) *Client {
	if opt.CertDir == "" {
		opt.CertDir = "/etc/docker/certs.d"
	}
	if opt.UserAgent == "" {
		opt.UserAgent = "cleat"
	}
	if opt.RetryWait == 0 {
		opt.RetryWait = 250 * time.Millisecond
	}
	if opt.Attempts == 0 {
		opt.Attempts = 6
	}
	if opt.StallTime == 0 {
		opt.StallTime = time.Minute
	}
	return &Client{opt: opt, transports: map[string]*http.Transport{}}
}

// Close closes idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

// plainAllowed reports whether host may be spoken to in plain HTTP.
func (c *Client) plainAllowed(host string) bool {
	h := c.opt.Hosts[host]
	return h.PlainHTTP || h.Insecure || isLoopback(host)
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// RoundTrip implements http.RoundTripper below all authentication. It is the one
// place that every request passes, redirected ones and those for tokens included,
// and refuses plain HTTP where it is not allowed.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	if req.URL.Scheme == "http" && !c.plainAllowed(host) {
		return nil, &plainError{host}
	}
	t, err := c.transport(host)
	if err != nil {
		return nil, err
	}
	if req.Header.Get("User-Agent") == "" || strings.HasPrefix(req.Header.Get("User-Agent"), "go-containerregistry") {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", c.opt.UserAgent)
	}
	return t.RoundTrip(req)
}

// plainError refuses plain HTTP to a host.
type plainError struct{ host string }

func (e *plainError) Error() string {
	return fmt.Sprintf("plain HTTP to %s is not allowed; if it has to be, set plain_http for it under registries in /etc/cleat/cleat.yaml", e.host)
}

func (e *plainError) Unwrap() error { return spec.ErrDenied }

// transport returns the connections to host.
func (c *Client) transport(host string) (*http.Transport, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.transports[host]; t != nil {
		return t, nil
	}
	config, err := c.tlsConfig(host)
	if err != nil {
		return nil, fmt.Errorf("certificates for %s: %w", host, err)
	}
	if config == nil {
		host = ""
	}
	if c.transports[host] == nil {
		c.transports[host] = newTransport(config)
	}
	return c.transports[host], nil
}

func newTransport(config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   16,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // blobs must arrive as their digest was taken
		ReadBufferSize:        64 << 10,
	}
}

// tlsConfig returns what is special about TLS with host, nil if nothing is.
func (c *Client) tlsConfig(host string) (*tls.Config, error) {
	if c.opt.Hosts[host].Insecure {
		return &tls.Config{InsecureSkipVerify: true}, nil //nolint:gosec // asked for, by host, in the configuration
	}
	if host == "" || strings.ContainsAny(host, "/") || host == "." || host == ".." {
		return nil, nil
	}
	dir := filepath.Join(c.opt.CertDir, host)
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(files) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		switch filepath.Ext(path) {
		case ".crt":
			err = addAuthority(config, path)
		case ".cert":
			err = addCertificate(config, path)
		}
		if err != nil {
			return nil, err
		}
	}
	return config, nil
}

func addAuthority(config *tls.Config, path string) error {
	pem, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if config.RootCAs == nil {
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			return err
		}
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no PEM certificate", path)
	}
	return nil
}

func addCertificate(config *tls.Config, path string) error {
	cert, err := tls.LoadX509KeyPair(path, strings.TrimSuffix(path, ".cert")+".key")
	if err != nil {
		return err
	}
	config.Certificates = slices.Concat(config.Certificates, []tls.Certificate{cert})
	return nil
}

// pause waits before attempt number n, counted from 1, is repeated.
func (c *Client) pause(ctx context.Context, n int) error {
	return pause.For(ctx, min(c.opt.RetryWait<<(n-1), 8*time.Second))
}
