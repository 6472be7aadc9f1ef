package engine

import (
	"context"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/registry"
)

// SearchResult is one repository that a search has found.
type SearchResult = registry.SearchResult

// RemoteManifest is a manifest as a registry has it.
type RemoteManifest = registry.RemoteManifest

// SearchOptions says how to search.
type SearchOptions struct {
	Limit int // results at most, 1 to 100; 0 means 25
}

// Search asks Docker Hub, or the registry that term begins with, for
// repositories.
func (e *Engine) Search(ctx context.Context, term string, opt SearchOptions) ([]SearchResult, error) {
	client := e.registry()
	defer client.Close()
	return client.Search(ctx, term, registry.SearchOptions{Server: e.config.Search, Limit: opt.Limit})
}

// RemoteManifestOptions says what to fetch of a manifest.
type RemoteManifestOptions struct {
	Insecure bool // do not check certificates, and allow plain HTTP
	Parts    bool // also the manifests that an index lists, and platforms

	Credentials Credentials // for the registry; none: those that a login has stored
}

// RemoteManifest returns the manifest of an image in its registry. Nothing is
// stored.
func (e *Engine) RemoteManifest(ctx context.Context, name string, opt RemoteManifestOptions) (RemoteManifest, error) {
	ref, err := image.ParseReference(name)
	if err != nil {
		return RemoteManifest{}, err
	}
	hosts := e.registryHosts()
	if opt.Insecure {
		h := hosts[ref.Domain()]
		h.Insecure = true
		hosts[ref.Domain()] = h
	}
	client := registry.New(registry.Options{Hosts: hosts, UserAgent: userAgent, Credentials: opt.Credentials})
	defer client.Close()
	return client.Manifest(ctx, ref, registry.ManifestOptions{Parts: opt.Parts})
}

// IsDockerManifest reports whether m is of Docker's form rather than OCI's.
func IsDockerManifest(m RemoteManifest) bool {
	return m.Manifest.MediaType == image.MediaTypeDockerManifest
}

// RemoteTags lists the tags that the registry has in a repository, which is given
// without a tag.
func (e *Engine) RemoteTags(ctx context.Context, repository string) ([]Reference, error) {
	ref, err := image.ParseReference(repository)
	if err != nil {
		return nil, err
	}
	if !image.IsRepository(repository) {
		return nil, invalid("all tags of %q: give the repository without a tag", repository)
	}
	client := e.registry()
	defer client.Close()
	return client.Tags(ctx, ref)
}
