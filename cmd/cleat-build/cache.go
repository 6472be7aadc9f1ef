package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/buildflags"
)

// readCaches reads --cache-from and --cache-to: a reference, or words such as
// type=local,src=DIRECTORY.
func readCaches(opt *build.Options, f *buildflags.Flags) error {
	for _, value := range f.CacheFrom {
		from, err := parseCache(value, "src")
		if err != nil {
			return fmt.Errorf("--cache-from %q: %w", value, err)
		}
		opt.CacheFrom = append(opt.CacheFrom, from.CacheStore)
	}
	for _, value := range f.CacheTo {
		to, err := parseCache(value, "dest")
		if err != nil {
			return fmt.Errorf("--cache-to %q: %w", value, err)
		}
		opt.CacheTo = append(opt.CacheTo, to)
	}
	return nil
}

// parseCache reads one value. Place is the word for a directory.
func parseCache(value, place string) (to build.CacheTarget, err error) {
	kind := ""
	for _, field := range strings.Split(value, ",") {
		k, v, isPair := strings.Cut(field, "=")
		switch k = strings.ToLower(strings.TrimSpace(k)); {
		case !isPair && value == field && value != "":
			kind, to.Registry = "registry", value
		case !isPair:
			return to, fmt.Errorf("%q: want NAME=VALUE", field)
		case k == "type":
			kind = v
		case k == "ref":
			to.Registry = v
		case k == place:
			to.Dir = v
		case k == "tag":
			to.Tag = v
		case k == "mode" && place == "dest" && (v == "min" || v == "max"):
			to.All = v == "max"
		case k == "ignore-error" && place == "dest":
			if to.IgnoreError, err = strconv.ParseBool(v); err != nil {
				return to, fmt.Errorf("ignore-error=%s: want true or false", v)
			}
		case k == "compression" && v == "gzip", k == "oci-mediatypes" && v == "true", k == "image-manifest" && v == "true":
			// it is done so anyway
		default:
			return to, fmt.Errorf("%s is not supported: want type, ref, %s, tag, mode=min|max or ignore-error", field, place)
		}
	}
	return to, checkCache(kind, place, to)
}

func checkCache(kind, place string, to build.CacheTarget) error {
	switch kind {
	case "registry":
		if to.Registry == "" || to.Dir != "" || to.Tag != "" {
			return errors.New("type=registry wants ref=NAME, and nothing of a directory")
		}
		_, err := engine.ParseReference(to.Registry)
		return err
	case "local":
		if to.Dir == "" || to.Registry != "" {
			return fmt.Errorf("type=local wants %s=DIRECTORY", place)
		}
		return nil
	}
	return fmt.Errorf("type %q is not supported: want registry or local", kind)
}
