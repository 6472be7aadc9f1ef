package format

import (
	"fmt"
	"strings"
)

// executeError says of a template that names a field that is not there what is
// wrong with it, without the names of types.
func executeError(err error) error { return fmt.Errorf("template parsing error: %w", fieldError(err)) }

func fieldError(err error) error {
	before, rest, ok := strings.Cut(err.Error(), "can't evaluate field ")
	if !ok {
		before, rest, ok = strings.Cut(err.Error(), "map has no entry for key ")
	}
	if !ok {
		return err
	}
	field, _, _ := strings.Cut(rest, " in type ")
	return fmt.Errorf("%sthere is no field %q", before, strings.Trim(field, `"`))
}
