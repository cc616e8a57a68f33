package repair

import (
	"net"
	"slices"
	"time"
)

// group are the parity frames that came of one group that is not whole.
type group struct {
	base   uint64
	k, m   int
	size   int
	shards [maxParity][]byte // with buffers of the pool
	have   int
	at     time.Duration // when the first one came
}

const maxGroups = 64 // of a path, whose parity is kept

func (g *group) drop(p *share) {
	for i, b := range g.shards {
		p.put(b)
		g.shards[i] = nil
	}
}

// parity takes a parity frame of the group that begins with base.
func (r *receiver) parity(now time.Duration, base uint64, pr parity, oob []byte, from *net.UDPAddr) {
	r.parityAt, r.lastAt = now, now
	r.known(now, base+uint64(pr.k))
	if r.ring == nil || base+ringLen <= r.high || base+uint64(pr.k) > r.high || r.lacking(base, pr.k) == 0 {
		return
	}
	g := r.find(base)
	if g == nil {
		if len(r.groups) >= maxGroups {
			r.groups[0].drop(r.pool)
			r.groups = append(r.groups[:0], r.groups[1:]...)
		}
		g = &group{base: base, k: pr.k, m: pr.m, size: len(pr.shard), at: now}
		r.groups = append(r.groups, g)
	}
	if g.base != base || g.k != pr.k || g.m != pr.m || g.size != len(pr.shard) || g.shards[pr.index] != nil {
		return
	}
	b := r.pool.get()
	if b == nil {
		return
	}
	copy(b, pr.shard)
	g.shards[pr.index] = b
	g.have++
	r.solve(now, g, oob, from)
}

// outdated forgets groups whose datagrams all were handed up or given up, or which were not whole for so long.
func (r *receiver) outdated(now, after time.Duration) {
	r.groups = slices.DeleteFunc(r.groups, func(g *group) bool {
		if g.base+uint64(g.k) > r.next && now-g.at <= after {
			return false
		}
		g.drop(r.pool)
		return true
	})
}

// find returns the group that a number is in, or nil.
func (r *receiver) find(num uint64) *group {
	for _, g := range r.groups {
		if num >= g.base && num < g.base+uint64(g.k) {
			return g
		}
	}
	return nil
}

// lacking counts the datagrams of a group that were not here yet.
func (r *receiver) lacking(base uint64, k int) (n int) {
	for i := range uint64(k) {
		if s := r.slot(base + i); s.num != base+i || s.state == missing || s.state == givenUp || s.state == unknown {
			n++
		}
	}
	return n
}

// repair looks whether the datagram with this number was what its group still needed.
func (r *receiver) repair(now time.Duration, num uint64, oob []byte, from *net.UDPAddr) {
	if len(r.groups) == 0 {
		return
	}
	if g := r.find(num); g != nil {
		r.solve(now, g, oob, from)
	}
}

// solve makes the missing datagrams of a group from its parity, if there is enough, and forgets groups that are over.
func (r *receiver) solve(now time.Duration, g *group, oob []byte, from *net.UDPAddr) {
	over := r.lacking(g.base, g.k) == 0 || g.base+ringLen <= r.high
	if !over {
		shards := make([][]byte, g.k+g.m)
		var absent []int
		for i := range g.k {
			s := r.slot(g.base + uint64(i))
			if s.num == g.base+uint64(i) && s.buf != nil {
				shards[i] = shard(s.buf, g.size)
			}
			if shards[i] == nil {
				absent = append(absent, i)
			}
		}
		if len(absent) > g.have {
			return
		}
		r.reconstruct(now, g, shards, absent, oob, from)
	}
	g.drop(r.pool)
	for i := range r.groups {
		if r.groups[i] == g {
			r.groups = append(r.groups[:i], r.groups[i+1:]...)
			break
		}
	}
	r.release()
}

func (r *receiver) reconstruct(now time.Duration, g *group, shards [][]byte, absent []int, oob []byte, from *net.UDPAddr) {
	for i, b := range g.shards[:g.m] {
		if b != nil {
			shards[g.k+i] = b[:g.size]
		}
	}
	code, err := r.codes.get(g.k, g.m)
	if err != nil || code.ReconstructData(shards) != nil {
		return
	}
	for _, i := range absent {
		inner, num := content(shards[i]), g.base+uint64(i)
		s := r.slot(num)
		if inner == nil || s.num != num || s.state == held || s.state == released {
			continue
		}
		if s.state == missing {
			r.holes--
		}
		late := num < r.next
		r.coded++
		if s.at = now; late {
			r.up(inner, oob, from)
			s.state = released
		} else {
			r.hold(s, inner, oob, from)
		}
	}
}
