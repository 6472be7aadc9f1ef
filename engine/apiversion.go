package engine

// The versions of Docker's Engine API that 'cleat serve' speaks, each "1." and the
// number. Scripts ask 'cleat version' for them.
const (
	NewestAPI = 56
	OldestAPI = 24
)
