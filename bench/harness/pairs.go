package harness

import "context"

// Pairs measures two things by turns and keeps each round's measurements
// together: what disturbs the machine for longer than a round falls on both.
// They take turns to be first, too.
func Pairs[T any](ctx context.Context, rounds int, ours, theirs func(context.Context) (T, error)) (our, their []T, err error) {
	our, their = make([]T, rounds), make([]T, rounds)
	for round := range rounds {
		first, second := func() (err error) {
			our[round], err = ours(ctx)
			return err
		}, func() (err error) {
			their[round], err = theirs(ctx)
			return err
		}
		if round%2 == 1 {
			first, second = second, first
		}
		for _, measure := range []func() error{first, second} {
			if err := measure(); err != nil {
				return nil, nil, err
			}
		}
	}
	return our, their, nil
}
