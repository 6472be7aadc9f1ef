package image

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// Config is how a container of the image runs unless the user says otherwise:
// the "config" object of the OCI image configuration with Docker's additions.
// The JSON form is that of `docker image inspect`.
type Config struct {
	Hostname     string              `json:",omitempty"`
	Domainname   string              `json:",omitempty"`
	User         string              `json:",omitempty"` // user[:group], names or numbers; "" is root
	ExposedPorts map[string]struct{} `json:",omitempty"` // keys such as "80/tcp"
	Env          []string            `json:",omitempty"` // entries "NAME=value"
	Cmd          []string            `json:",omitempty"`
	Healthcheck  *Healthcheck        `json:",omitempty"`
	ArgsEscaped  bool                `json:",omitempty"` // Windows only
	Volumes      map[string]struct{} `json:",omitempty"` // keys are paths in the container
	WorkingDir   string              `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	OnBuild      []string            `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"` // for example "SIGQUIT"; "" is SIGTERM
	StopTimeout  *int                `json:",omitempty"` // seconds; nil is the engine's default
	Shell        []string            `json:",omitempty"`
}

// Healthcheck is Docker's HEALTHCHECK. Zero durations and retries mean Docker's
// defaults (30 s, 30 s, 0, 5 s, 3).
type Healthcheck struct {
	Test          []string      `json:",omitempty"` // nil inherits, {"NONE"}, {"CMD", args…}, {"CMD-SHELL", command}
	Interval      time.Duration `json:",omitempty"` // in JSON nanoseconds, as Docker writes it
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// Platform is the operating system and processor that an image is made for.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
	OSVersion    string `json:"os.version,omitempty"`
}

// HistoryEntry is one step of how an image was made.
type HistoryEntry struct {
	Created    time.Time `json:"created,omitzero"`
	CreatedBy  string    `json:"created_by,omitempty"`
	Author     string    `json:"author,omitempty"`
	Comment    string    `json:"comment,omitempty"`
	EmptyLayer bool      `json:"empty_layer,omitempty"` // the step made no layer
}

// ConfigFile is the image configuration blob whose digest is the image's id, see
// the OCI image specification, config.md.
type ConfigFile struct {
	Created time.Time `json:"created,omitzero"`
	Author  string    `json:"author,omitempty"`
	Comment string    `json:"comment,omitempty"` // Docker's
	Platform
	DockerVersion string         `json:"docker_version,omitempty"`
	Config        Config         `json:"config"`
	RootFS        RootFS         `json:"rootfs"`
	History       []HistoryEntry `json:"history,omitempty"`
}

// RootFS lists the layers of an image, the lowest first.
type RootFS struct {
	Type    string   `json:"type"` // "layers"
	DiffIDs []Digest `json:"diff_ids"`
}

// ParseConfig decodes an image configuration and checks what others rely on. The
// error wraps spec.ErrInvalid, or spec.ErrUnsupport for another system's image.
func ParseConfig(data []byte) (ConfigFile, error) {
	var c ConfigFile
	if err := json.Unmarshal(data, &c); err != nil {
		return ConfigFile{}, fmt.Errorf("decode image configuration: %w: %w", err, spec.ErrInvalid)
	}
	if c.RootFS.Type != "layers" && (c.RootFS.Type != "" || len(c.RootFS.DiffIDs) > 0) {
		return ConfigFile{}, fmt.Errorf("image configuration: rootfs type is %q, want %q: %w", clip(c.RootFS.Type), "layers", spec.ErrInvalid)
	}
	for i, d := range c.RootFS.DiffIDs {
		if d == "" { // JSON null
			return ConfigFile{}, fmt.Errorf("image configuration: diff id of layer %d is empty: %w", i, spec.ErrInvalid)
		}
	}
	if c.OS != "" && c.OS != "linux" {
		return ConfigFile{}, fmt.Errorf("image is for operating system %q, only linux runs here: %w", clip(c.OS), spec.ErrUnsupport)
	}
	return c, nil
}
