// Package settings has the one rule for fields of a Config: zero is the default, and a negative value means "not at all".
// On a command line a zero is a zero, which Of turns into "not at all".
package settings

// Or is the value that a field stands for: def if the field is zero, and zero if the field is negative.
func Or[T ~int | ~int64](v, def T) T {
	if v == 0 {
		return def
	}
	return max(v, 0)
}

// Of is the field for a value that a person named: a zero that was named is no default.
func Of[T ~int | ~int64](v T) T {
	if v == 0 {
		return -1
	}
	return v
}
