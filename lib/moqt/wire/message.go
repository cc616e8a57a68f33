package wire

// Message is a control message (§9).
type Message interface {
	// Type is the message type of the newest draft that has it.
	Type() uint64
}

var messages16 = map[uint64]func() Message{}
