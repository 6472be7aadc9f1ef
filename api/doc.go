// Package api is Docker's Engine API over HTTP, in front of package engine. A
// handler decodes a request, makes a call of the engine, and encodes the answer
// in the form that the asked version of the API has; routes.go has the table of
// them. The package holds no state: killing its process loses nothing but the
// connections.
package api
