package sim

import (
	"math"
	"math/rand/v2"
)

// A chance is a random event that happens to a share of packets. It draws the distance to the next one
// instead of a number for each packet.
type chance struct {
	rng  *rand.Rand
	rate float64
	wait int64 // packets to pass before it happens
}

func newChance(seed, kind uint64, rate float64) chance {
	c := chance{rng: rand.New(rand.NewPCG(seed, kind)), rate: rate}
	c.draw()
	return c
}

func (c *chance) draw() {
	switch {
	case c.rate <= 0:
		c.wait = math.MaxInt64
	case c.rate >= 1:
		c.wait = 0
	default:
		// geometric; 1−Float64 is never 0
		c.wait = int64(math.Log(1-c.rng.Float64()) / math.Log1p(-c.rate))
		c.wait = max(c.wait, 0) // a rate near 0 could overflow
	}
}

// hit tells whether it happens to this packet.
func (c *chance) hit() bool {
	if c.wait > 0 {
		c.wait--
		return false
	}
	c.draw()
	return true
}
