package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cleat-project/cleat/spec"
)

// DefaultServer is what login and logout mean when no server is given.
const DefaultServer = "docker.io"

// credentialKey returns the key of a registry in config.json, which for
// docker.io is a URL of the times of its first protocol.
func credentialKey(host string) string {
	if host == "" || host == DefaultServer || host == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return host
}

func (c *Client) loadConfig() (*configfile.ConfigFile, error) {
	cfg, err := config.Load(c.opt.ConfigDir)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	return cfg, nil
}

// Credentials prove to one registry who is asking.
type Credentials struct {
	Server         string // the registry that they are for; "" means docker.io
	User, Password string
	IdentityToken  string // instead of a password, from an earlier login
	RegistryToken  string // a bearer token, instead of everything else
}

// IsZero reports whether there are none.
func (c Credentials) IsZero() bool {
	return c.User == "" && c.Password == "" && c.IdentityToken == "" && c.RegistryToken == ""
}

func (c Credentials) authenticator() authn.Authenticator {
	return authn.FromConfig(authn.AuthConfig{
		Username: c.User, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
	})
}

// credentials returns what the client was given for host, or else what
// config.json or a credential helper has for it.
func (c *Client) credentials(host string) (authn.Authenticator, error) {
	if own := c.opt.Credentials; !own.IsZero() && credentialKey(own.Server) == credentialKey(host) {
		return own.authenticator(), nil
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, err
	}
	a, err := cfg.GetAuthConfig(credentialKey(host))
	if err != nil {
		return nil, fmt.Errorf("get credentials for %s: %w", host, err)
	}
	a.ServerAddress = "" // filled in even where there is nothing
	if a == (types.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: a.Username, Password: a.Password, Auth: a.Auth,
		IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}), nil
}

// Login checks user and password with the registry server, "" meaning
// docker.io, and stores them in config.json or the credential helper that it
// names. A refusal wraps spec.ErrDenied, a server that does not answer
// spec.ErrUnavail; nothing is stored then.
func (c *Client) Login(ctx context.Context, server, user, password string) error {
	if err := c.Check(ctx, Credentials{Server: server, User: user, Password: password}); err != nil {
		return err
	}
	if server == "" {
		server = DefaultServer
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	key := credentialKey(server)
	err = cfg.GetCredentialsStore(key).Store(types.AuthConfig{Username: user, Password: password, ServerAddress: key})
	if err != nil {
		return fmt.Errorf("store credentials for %s: %w", server, err)
	}
	return nil
}

// Check asks the registry that creds are for whether they are right, and stores
// nothing. Its errors are those of Login.
func (c *Client) Check(ctx context.Context, creds Credentials) error {
	server := creds.Server
	if server == "" {
		server = DefaultServer
	}
	if creds.IdentityToken == "" && (creds.User == "" || creds.Password == "") {
		return fmt.Errorf("log in to %s: user name and password are needed: %w", server, spec.ErrInvalid)
	}
	return c.check(ctx, server, creds.authenticator())
}

// check makes the request that proves credentials.
func (c *Client) check(ctx context.Context, server string, auth authn.Authenticator) error {
	reg, err := c.registry(server)
	if err != nil {
		return err
	}
	rt, err := transport.NewWithContext(ctx, reg, auth, c, nil)
	if err == nil {
		s := &session{host: server, base: "https://" + reg.RegistryStr() + "/v2/", client: &http.Client{Transport: rt}}
		var resp *http.Response
		if resp, err = s.get(ctx, "", nil, http.StatusOK); err == nil {
			drain(resp.Body)
			return nil
		}
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		if answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden {
			return &Error{fmt.Sprintf("login to %s denied: unauthorized: incorrect username or password", server), spec.ErrDenied, err}
		}
		return &Error{fmt.Sprintf("login to %s: the server answers %d: %s", server, answer.StatusCode, reason(answer)), spec.ErrUnavail, err}
	}
	if hasClass(err) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("login to %s: %w", server, err)
	}
	return &Error{fmt.Sprintf("login to %s: the server cannot be reached: %v", server, err), spec.ErrUnavail, err}
}

// Logout forgets the credentials for server, "" meaning docker.io. It reports
// whether there were any.
func (c *Client) Logout(_ context.Context, server string) (bool, error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return false, err
	}
	key := credentialKey(server)
	store := cfg.GetCredentialsStore(key)
	a, err := store.Get(key)
	if err != nil {
		return false, fmt.Errorf("get credentials for %s: %w", key, err)
	}
	a.ServerAddress = ""
	if a == (types.AuthConfig{}) {
		return false, nil
	}
	if err := store.Erase(key); err != nil {
		return false, fmt.Errorf("forget credentials for %s: %w", key, err)
	}
	return true, nil
}
