package torture

import "time"

// Shrink makes a combination that breaks a promise as small as it can within a time, while it still breaks that promise.
func Shrink(spec Spec, promise string, within time.Duration) Spec {
	until := time.Now().Add(within)
	fails := func(s Spec) bool {
		if time.Now().After(until) {
			return false
		}
		for _, v := range Check(&s).Violations {
			if v.Promise == promise {
				return true
			}
		}
		return false
	}
	try := func(change func(s *Spec)) bool {
		s := spec
		s.Receivers = append([]Receiver(nil), spec.Receivers...)
		change(&s)
		before := spec.String()
		s.tidy()
		for i := range s.Receivers {
			s.Receivers[i].tidy()
		}
		if s.String() == before || !fails(s) {
			return false
		}
		spec = s
		return true
	}
	for again := true; again && time.Now().Before(until); {
		again = false
		for i := len(spec.Receivers) - 1; i >= 0 && len(spec.Receivers) > 1; i-- {
			again = try(func(s *Spec) { s.Receivers = append(s.Receivers[:i:i], s.Receivers[i+1:]...) }) || again
		}
		for i := range spec.Receivers {
			for h := range numReceiver {
				if spec.Receivers[i].H[h] == 0 {
					continue
				}
				again = try(func(s *Spec) { s.Receivers[i].H[h] = 0 }) ||
					spec.Receivers[i].H[h] > 1 && try(func(s *Spec) { s.Receivers[i].H[h] = 1 }) || again
			}
		}
		for h := range numHabits {
			if spec.H[h] == 0 {
				continue
			}
			again = try(func(s *Spec) { s.H[h] = 0 }) || spec.H[h] > 1 && try(func(s *Spec) { s.H[h] = 1 }) ||
				spec.H[h] > 3 && try(func(s *Spec) { s.H[h] /= 2 }) || again
		}
	}
	return spec
}
