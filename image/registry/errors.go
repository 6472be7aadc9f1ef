package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// Error is a failure to get an image from its registry, in Docker's words. It
// wraps one of spec's classes: ErrNotFound, ErrDenied, ErrUnavail or ErrInvalid.
type Error struct {
	msg   string
	class error
	cause error
}

// Error implements error.
func (e *Error) Error() string { return e.msg }

// Unwrap returns the class and the cause of the failure.
func (e *Error) Unwrap() []error { return []error{e.class, e.cause} }

// explain puts an error of the transport into the words of the user's request.
func explain(err error, ref image.Reference, host string) error {
	if err == nil || hasClass(err) || isStorage(err) || errors.Is(err, context.Canceled) {
		return err
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &Error{fmt.Sprintf("registry %s shows a certificate that is not trusted: %v; its authority belongs into /etc/docker/certs.d/%s/ca.crt", host, bad.Err, host), spec.ErrUnavail, err}
	}
	answer, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return &Error{fmt.Sprintf("registry %s cannot be reached: %v", host, err), spec.ErrUnavail, err}
	}
	why := reason(answer)
	switch {
	case hasCode(answer, transport.ManifestUnknownErrorCode):
		return &Error{fmt.Sprintf("manifest for %s not found: the registry has no such tag or digest (%s)", ref.Familiar(), why), spec.ErrNotFound, err}
	case hasCode(answer, transport.NameUnknownErrorCode), answer.StatusCode == http.StatusNotFound:
		return &Error{accessDenied(ref, why), spec.ErrNotFound, err}
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return &Error{accessDenied(ref, why), spec.ErrDenied, err}
	case answer.StatusCode == http.StatusTooManyRequests:
		return &Error{fmt.Sprintf("registry %s refuses for now, too many requests: %s; wait, or log in for a higher limit", host, why), spec.ErrUnavail, err}
	}
	return &Error{fmt.Sprintf("registry %s answers %d: %s", host, answer.StatusCode, why), spec.ErrUnavail, err}
}

func accessDenied(ref image.Reference, why string) string {
	return fmt.Sprintf("pull access denied for %s, repository does not exist or may require 'cleat login': %s", ref.FamiliarRepository(), why)
}

func hasClass(err error) bool {
	for _, class := range []error{spec.ErrNotFound, spec.ErrDenied, spec.ErrUnavail, spec.ErrInvalid, spec.ErrUnsupport} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

func hasCode(e *transport.Error, code transport.ErrorCode) bool {
	for _, d := range e.Errors {
		if d.Code == code {
			return true
		}
	}
	return false
}

// reason returns what the registry says, on one line.
func reason(e *transport.Error) string {
	for _, d := range e.Errors {
		if s := strings.ToLower(strings.ReplaceAll(string(d.Code), "_", " ")); s != "" {
			return oneLine(s + ": " + d.Message)
		}
	}
	return strings.ToLower(http.StatusText(e.StatusCode))
}

// oneLine makes a registry's text safe to print: no control bytes, not long.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s[:min(len(s), 300)])
}

// isTemporary reports whether the same request may succeed when repeated.
func isTemporary(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		switch answer.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	if errors.Is(err, errStalled) {
		return true
	}
	if errors.Is(err, http.ErrSchemeMismatch) { // it speaks plain HTTP, which is not allowed or was tried as well
		return false
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || hasClass(err) || isStorage(err) || isDial(err) {
		return false
	}
	return true // the connection: reset, closed in the middle
}

// isDial reports whether no connection came about at all.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// storageError is a failure of the local disk, which no repetition mends.
type storageError struct{ err error }

func (e *storageError) Error() string { return e.err.Error() }
func (e *storageError) Unwrap() error { return e.err }

func isStorage(err error) bool {
	_, ok := errors.AsType[*storageError](err)
	return ok
}

// drain reads the rest of a small response, so that its connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 64<<10)) // only saves a connection
	_ = body.Close()
}
