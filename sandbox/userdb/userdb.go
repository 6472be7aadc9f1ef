// Package userdb finds out who a container runs as: it reads the user string
// of an image or a command line against the container's own /etc/passwd and
// /etc/group, with Docker's rules. Both files belong to the image and are not
// trusted.
package userdb

import (
	"bytes"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// User is who a process runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups, GID first, without duplicates
	Home     string   // from /etc/passwd; "/" if there is no entry
}

// Files are the contents of the container's user database; a missing file is
// empty. Lines that make no sense are passed over.
type Files struct {
	Passwd, Group []byte
}

// Resolve returns who name is, with the further supplementary groups extra.
//
// Name is user[:group]. A part made of digits alone is always a number, even if
// an entry of that name exists; any other is the name of an entry and nothing
// else, so "0x0", "-1" or "1e3" are names. Without a user it is root; without a
// group it is the one of the user's entry, 0 if there is none. Only if no group
// is given does the user's membership in further groups count. A number over
// 2147483647 wraps around somewhere (CVE-2024-40635) and is spec.ErrInvalid,
// as is a name that has no entry.
func (f Files) Resolve(name string, extra []string) (User, error) {
	who, group, hasGroup := strings.Cut(name, ":")
	u := User{Home: "/"}
	login, err := f.user(&u, who)
	if err != nil {
		return User{}, err
	}
	var groups []uint32
	if hasGroup && group != "" {
		if u.GID, err = f.groupID(group); err != nil {
			return User{}, err
		}
	} else {
		groups = f.memberships(login)
	}
	for _, g := range extra {
		id, err := f.groupID(g)
		if err != nil {
			return User{}, err
		}
		groups = append(groups, id)
	}
	for _, g := range append([]uint32{u.GID}, groups...) {
		if !slices.Contains(u.Groups, g) {
			u.Groups = append(u.Groups, g)
		}
	}
	return u, nil
}

// user fills in what the first part of a user string says and returns the name
// of the entry, "" if there is none.
func (f Files) user(u *User, who string) (login string, err error) {
	if who == "" {
		who = "0"
	}
	id, isNumber, err := number(who)
	if err != nil {
		return "", fmt.Errorf("user %q: %w", who, err)
	}
	for fields := range lines(f.Passwd, 4) {
		uid, ok := entryID(fields[2])
		gid, okGroup := entryID(fields[3])
		if !ok || !okGroup || isNumber && uid != id || !isNumber && fields[0] != who {
			continue
		}
		u.UID, u.GID = uid, gid
		if len(fields) > 5 && strings.HasPrefix(fields[5], "/") {
			u.Home = fields[5]
		}
		return fields[0], nil
	}
	if !isNumber {
		return "", fmt.Errorf("unable to find user %s: no matching entries in passwd file: %w", who, spec.ErrInvalid)
	}
	u.UID = id
	return "", nil
}

// groupID returns the number of a group given by number or name.
func (f Files) groupID(name string) (uint32, error) {
	id, isNumber, err := number(name)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	if isNumber {
		return id, nil
	}
	for fields := range lines(f.Group, 3) {
		if gid, ok := entryID(fields[2]); ok && fields[0] == name {
			return gid, nil
		}
	}
	return 0, fmt.Errorf("unable to find group %s: no matching entries in group file: %w", name, spec.ErrInvalid)
}

// memberships returns the groups that list login as a member.
func (f Files) memberships(login string) []uint32 {
	if login == "" {
		return nil
	}
	var ids []uint32
	for fields := range lines(f.Group, 4) {
		if gid, ok := entryID(fields[2]); ok && slices.Contains(strings.Split(fields[3], ","), login) {
			ids = append(ids, gid)
		}
	}
	return ids
}

// number reads a part of a user string that is made of digits alone.
func number(s string) (id uint32, isNumber bool, err error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, true, fmt.Errorf("uids and gids must be in range 0-%d: %w", math.MaxInt32, spec.ErrInvalid)
	}
	return uint32(n), true, nil
}

// entryID reads an id of the database. A broken one does not become 0.
func entryID(s string) (uint32, bool) {
	id, isNumber, err := number(s)
	return id, isNumber && err == nil
}

// lines yields the fields of each line that has a name and at least min fields.
func lines(file []byte, min int) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for line := range bytes.Lines(file) {
			fields := strings.Split(strings.TrimSpace(string(line)), ":")
			if len(fields) < min || fields[0] == "" || fields[0][0] == '#' {
				continue
			}
			if !yield(fields) {
				return
			}
		}
	}
}
