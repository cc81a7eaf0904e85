package sim

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// chance gives the random numbers of one part of a world. Parts have one each,
// named after themselves, so that what one part draws does not depend on how
// often another does. Safe for concurrent use.
type chance struct {
	mu  sync.Mutex
	rng *rand.Rand
}

// newChance makes the chance of the part with this name.
func newChance(seed uint64, name string) *chance {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(name)) // a hash never fails to write
	return &chance{rng: rand.New(rand.NewPCG(seed, sum.Sum64()))}
}

// happens is true with this probability.
func (c *chance) happens(probability float64) bool {
	if probability <= 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.Float64() < probability
}

// pick gives a number below n, which must be positive.
func (c *chance) pick(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

// between gives a duration from low to high. Its nanoseconds are random, so
// that no two timers of a world end at the same instant: which of them the
// scheduler wakes first would be another random choice, and not the seed's.
func (c *chance) between(low, high time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return low + time.Duration(c.rng.Int64N(int64(max(high-low, time.Microsecond))))
}
