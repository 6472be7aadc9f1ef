package listing

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Time reads a point in time in one of Docker's forms: RFC 3339 and its
// shorter forms in local time, seconds since 1970 with a fraction, or a duration
// before now. "" is the zero time.
func Time(s string, now time.Time) (time.Time, error) {
	if s == "" || s == "0" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if t, ok := unixTime(s); ok {
		return t, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, invalid("failed to parse %q as a time: it is RFC 3339, seconds since 1970, or a duration such as 42m", s)
}

// unixTime reads seconds since 1970 with up to nine digits of a fraction.
func unixTime(s string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds < 0 || seconds > math.MaxInt32*1000 || len(fraction) > 9 {
		return time.Time{}, false
	}
	nanos, err := strconv.ParseUint(fraction+"000000000"[len(fraction):], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(seconds, int64(nanos)), true
}
