package spec

// SecretsDir is where a container finds its secrets, each as a file.
const SecretsDir = "/run/secrets"

// DefaultSecretMode is the mode of a secret's file, as in Docker and Podman.
const DefaultSecretMode = 0o444

// Secret is something confidential that a container gets as a file in memory. Where
// it is kept is recorded, what it is never is: systemd reads it at each start, see
// LoadCredential= in systemd.exec(5).
type Secret struct {
	Source string // an absolute path, or the name of a credential in systemd's store
	Target string // name of the file in SecretsDir
	UID    uint32 `json:",omitempty"`
	GID    uint32 `json:",omitempty"`
	Mode   uint32 `json:",omitempty"` // 0 means DefaultSecretMode
}
