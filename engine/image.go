package engine

import (
	"cmp"
	"context"
	"errors"
	"io"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/archive"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/internal/config"
	"github.com/cleat-project/cleat/rootfs/layer"
	"github.com/cleat-project/cleat/spec"
)

// Image is what the store knows of one image.
type Image = image.Image

// ImageLayer is one step of an image's history, with what it added.
type ImageLayer = image.Layer

// Reference names an image in a registry.
type Reference = image.Reference

// LoadedImage is one image that Load has added.
type LoadedImage = archive.Loaded

// PullEvent tells how far a layer of an image has come.
type PullEvent = image.Event

// RemovedImage is one line of what RemoveImage has done.
type RemovedImage = image.Removed

// RemoveImageOptions says how to remove an image.
type RemoveImageOptions = image.RemoveOptions

// ParseReference reads the name of an image as Docker does.
func ParseReference(s string) (Reference, error) { return image.ParseReference(s) }

// PullOptions says how to pull.
type PullOptions struct {
	Platform string          // os/arch[/variant]; "" means this machine's
	Progress func(PullEvent) // called from several goroutines; nil drops it

	Credentials Credentials // for the registry of the image; none: those that a login has stored
}

// LoadOptions says how to load an archive.
type LoadOptions struct {
	Platform string          // chosen from an archive for several; "" means this machine's
	Progress func(PullEvent) // called from several goroutines; nil drops it
}

// ImportOptions says what image to make of a root file system.
type ImportOptions struct {
	Reference string   // its name; "" leaves it without
	Changes   []string // Dockerfile instructions
	Message   string   // the image's comment; "" says where it is from
	From      string   // the address of the tar, for that; "" means "-", a stream or file of the caller's
	Platform  string   // that the files are for; "" means this machine's
}

// unpack writes one layer into an empty directory, in overlayfs's form, and
// returns what its files hold, which is its size in Docker's eyes.
func unpack(ctx context.Context, tar io.Reader, dir string) (int64, error) {
	stats, err := layer.Apply(ctx, tar, dir, layer.Options{})
	return stats.Bytes, err
}

// platform reads the platform that a user asked for; "" is this machine's.
func platform(s string) (image.Platform, error) {
	if s == "" {
		return image.Platform{}, nil
	}
	return image.ParsePlatform(s)
}

// Pull gets an image from its registry, or a mirror of it, if the policy admits
// it. If it fails or is killed, nothing is visible that was not before.
func (e *Engine) Pull(ctx context.Context, ref string, opt PullOptions) (Image, error) {
	r, err := image.ParseReference(ref)
	if err != nil {
		return Image{}, err
	}
	p, err := platform(opt.Platform)
	if err != nil {
		return Image{}, err
	}
	policy, err := config.LoadPolicy(e.config.Policy)
	if err != nil {
		return Image{}, err
	}
	signed, err := trust(policy, r)
	if err != nil {
		return Image{}, err
	}
	client := e.registryFor(opt.Credentials)
	defer client.Close()
	pulled, err := client.Pull(ctx, e.images, r, registry.PullOptions{
		Unpack: unpack, Progress: opt.Progress, Platform: p, Downloads: e.config.Pull.Downloads, Signed: signed,
	})
	if err == nil {
		e.tellImage("pull", pulled.Image, r.Familiar())
	}
	return pulled.Image, err
}

// userAgent is how registries see this program.
const userAgent = "cleat"

// registry returns a client with the settings of the configuration.
func (e *Engine) registry() *registry.Client { return e.registryFor(Credentials{}) }

// registryFor is registry for somebody with credentials of his own.
func (e *Engine) registryFor(c Credentials) *registry.Client {
	return registry.New(registry.Options{Hosts: e.registryHosts(), UserAgent: userAgent, Credentials: c})
}

// Credentials prove to one registry who is asking. Where there are none, those
// count that a login has stored.
type Credentials = registry.Credentials

func (e *Engine) registryHosts() map[string]registry.Host {
	hosts := make(map[string]registry.Host, len(e.config.Registries))
	for name, r := range e.config.Registries {
		hosts[name] = registry.Host{PlainHTTP: r.PlainHTTP, Insecure: r.Insecure, Mirrors: r.Mirrors}
	}
	return hosts
}

// Login checks user and password with a registry, "" meaning Docker Hub, and
// stores them where Docker does.
func (e *Engine) Login(ctx context.Context, server, user, password string) error {
	client := e.registry()
	defer client.Close()
	return client.Login(ctx, server, user, password)
}

// CheckLogin asks a registry whether credentials are right, and stores nothing.
func (e *Engine) CheckLogin(ctx context.Context, c Credentials) error {
	client := e.registry()
	defer client.Close()
	return client.Check(ctx, c)
}

// Logout forgets the credentials for a registry, and reports whether there
// were any.
func (e *Engine) Logout(ctx context.Context, server string) (bool, error) {
	client := e.registry()
	defer client.Close()
	return client.Logout(ctx, server)
}

// Load adds the images of an archive that "docker save" or an OCI tool wrote.
func (e *Engine) Load(ctx context.Context, r io.Reader, opt LoadOptions) ([]LoadedImage, error) {
	p, err := platform(opt.Platform)
	if err != nil {
		return nil, err
	}
	loaded, err := archive.Load(ctx, e.images, r, archive.LoadOptions{Unpack: unpack, Progress: opt.Progress, Platform: p})
	for _, l := range loaded {
		e.tellImage("load", l.Image, string(l.Image.ID))
	}
	return loaded, err
}

// Import makes an image of a root file system's tar.
func (e *Engine) Import(ctx context.Context, r io.Reader, opt ImportOptions) (Image, error) {
	p, err := platform(opt.Platform)
	if err != nil {
		return Image{}, err
	}
	var ref Reference
	if opt.Reference != "" {
		if ref, err = image.ParseReference(opt.Reference); err != nil {
			return Image{}, err
		}
	}
	img, err := archive.Import(ctx, e.images, r, archive.ImportOptions{
		Unpack: unpack, Reference: ref, Changes: opt.Changes, Platform: p,
		Message: cmp.Or(opt.Message, "Imported from "+cmp.Or(opt.From, "-")),
	})
	if err == nil {
		e.tellNamed(img, ref)
		e.tellImage("import", img, string(img.ID))
	}
	return img, err
}

// imagesInUse tells the image store what containers stand on.
func (e *Engine) imagesInUse(ctx context.Context) ([]image.Use, error) {
	all, err := e.List(ctx)
	if errors.Is(err, spec.ErrUnavail) { // no systemd: nothing runs, but containers exist
		all, err = e.stored()
	}
	if err != nil {
		return nil, err
	}
	uses := make([]image.Use, 0, len(all))
	for _, c := range all {
		use := image.Use{Container: c.ID, Image: image.Digest(c.Image.ID), Running: c.Status == StatusRunning || c.Status == StatusPaused || c.Status == StatusRestarting}
		for _, d := range c.Image.DiffIDs {
			use.Layers = append(use.Layers, image.Digest(d))
		}
		uses = append(uses, use)
	}
	builds, err := e.buildUse()
	return append(uses, builds), err
}

// stored lists the containers without asking for their state.
func (e *Engine) stored() ([]Container, error) {
	ids, err := e.state.IDs()
	if err != nil {
		return nil, err
	}
	var all []Container
	for _, id := range ids {
		c, err := e.state.Load(id)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Container{Container: c})
	}
	return all, nil
}

// Images returns all images, the youngest first.
func (e *Engine) Images(context.Context) ([]Image, error) { return e.images.List() }

// Image returns one image, by reference, id or the beginning of its id.
func (e *Engine) Image(_ context.Context, ref string) (Image, error) { return e.images.Get(ref) }

// History returns the steps that made an image, the newest first.
func (e *Engine) History(_ context.Context, ref string) ([]ImageLayer, error) {
	img, err := e.images.Get(ref)
	if err != nil {
		return nil, err
	}
	return e.images.Layers(img), nil
}

// Tag gives an image a further name.
func (e *Engine) Tag(ctx context.Context, source, target string) error {
	ref, err := image.ParseReference(target)
	if err != nil {
		return err
	}
	if err := checkTag(ref); err != nil {
		return err
	}
	if err := e.images.Tag(ctx, source, ref); err != nil {
		return err
	}
	if img, err := e.images.Get(target); err == nil { // not removed again meanwhile
		e.tellImage("tag", img, ref.Familiar())
	}
	return nil
}

// tellNamed tells of the name that a new image got, if it got one.
func (e *Engine) tellNamed(img Image, ref Reference) {
	if !ref.IsZero() {
		e.tellImage("tag", img, ref.Familiar())
	}
}

// checkTag refuses names that could be taken for something else.
func checkTag(ref Reference) error {
	switch {
	case ref.Digest() != "":
		return invalid("image name %q: refusing to create a tag with a digest reference", ref.Familiar())
	case ref.FamiliarRepository() == "sha256":
		return invalid("image name %q: refusing to create an ambiguous tag using digest algorithm as name", ref.Familiar())
	}
	return nil
}

// RemoveImage takes a name from an image and deletes it with its last one.
func (e *Engine) RemoveImage(ctx context.Context, ref string, opt RemoveImageOptions) ([]RemovedImage, error) {
	img, findErr := e.images.Get(ref)
	done, err := e.images.Remove(ctx, ref, opt)
	if findErr == nil {
		e.tellRemoved(img, done)
	}
	return done, err
}

// layerDir returns the directory of the unpacked layer with the given diff id.
func (e *Engine) layerDir(diffID string) string { return e.images.LayerDir(image.Digest(diffID)) }
