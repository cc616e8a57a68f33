package wire

// paramForm is how a draft lays out a block of parameters.
type paramForm uint8

const (
	// keyValuePairs: a count, then key-value-pairs with delta types (§1.4.2), as in draft 16.
	keyValuePairs paramForm = iota
)
