// Package registry talks to image registries: it pulls images into a store and
// logs in and out, as https://github.com/opencontainers/distribution-spec says
// and as Docker's registries do it.
//
// Trust is in digests: what a registry or mirror sends is checked against them
// before it becomes visible. Credentials go to the registry that they are for and
// to the token server it names, over TLS unless the host may be spoken to in
// plain HTTP; never to a host that a manifest or a redirect leads to.
package registry
