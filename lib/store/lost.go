package store

import "every.channel/ec/lib/object"

// mostLost bounds the groups that are remembered as lost.
const mostLost = 1000

// Lost is a group that was whole until its file turned out to be removed or damaged.
type Lost struct {
	Track object.TrackName
	Group uint64
}

// Lost returns the groups that were lost since it was last called, whoever noticed that; of very many the first ones.
func (s *Store) Lost() []Lost {
	s.lostMu.Lock()
	defer s.lostMu.Unlock()
	list := s.lost
	s.lost = nil
	return list
}

// lose notes that a group is lost, if it was whole: others are looked for by those who look for what is missing.
func (s *Store) lose(g *group) {
	s.lostMu.Lock()
	defer s.lostMu.Unlock()
	if g.state == complete && len(s.lost) < mostLost {
		s.lost = append(s.lost, Lost{g.t.name, g.id})
	}
}
