package unitgen

// Scope returns the unit of a process that runs already, and of what it starts. It
// ends with the last of them.
func Scope(name, description, slice string, pid int) Unit {
	return Unit{Name: name, Properties: []Property{
		{"CollectMode", "inactive-or-failed"},
		{"Description", printable(description)},
		{"PIDs", []uint32{uint32(pid)}},
		{"Slice", or(slice, DefaultSlice)},
	}}
}
