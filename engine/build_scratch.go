package engine

import "context"

// Scratch makes a directory for files that a build needs until release is called:
// what it fetches, for example. What builders leave that are killed is swept by the
// next one.
func (b *Build) Scratch(ctx context.Context) (dir string, release func() error, err error) {
	b.sweep.Do(func() { err = b.e.state.SweepSteps() })
	if err != nil {
		return "", nil, err
	}
	step, err := b.e.state.MakeStep(ctx, newID())
	if err != nil {
		return "", nil, err
	}
	return step.Upper(), step.Close, nil
}
