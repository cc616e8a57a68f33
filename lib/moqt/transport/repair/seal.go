package repair

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// tagLen is the length of a frame's tag.
const tagLen = 12

// sealer makes and checks the tags of frames of one direction: AES-GCM over the frame as additional data. Nothing is encrypted. Its path's
// lock guards it.
type sealer struct {
	aead  cipher.AEAD
	path  uint32
	nonce [12]byte
	tag   [tagLen]byte
}

// sealers derives the keys and the path numbers of both directions from what the two sides agreed on.
func sealers(secret, client, server []byte) (up, down sealer, err error) {
	salt := append(append([]byte(nil), client...), server...)
	okm, err := hkdf.Key(sha256.New, secret, salt, "every.channel repair 1", 40)
	if err != nil {
		return up, down, err
	}
	for i, s := range []*sealer{&up, &down} {
		block, err := aes.NewCipher(okm[20*i : 20*i+16])
		if err != nil {
			return up, down, err
		}
		if s.aead, err = cipher.NewGCMWithTagSize(block, tagLen); err != nil {
			return up, down, err
		}
		s.path = binary.BigEndian.Uint32(okm[20*i+16:])
	}
	return up, down, nil
}

// setNonce makes the nonce, another one for every frame that is different: number holds all bits of the number in its head.
func (s *sealer) setNonce(kind, index byte, number uint64) {
	s.nonce[0], s.nonce[1] = kind, index
	binary.BigEndian.PutUint64(s.nonce[4:], number)
}

// seal appends the tag to a frame that begins at b[from].
func (s *sealer) seal(b []byte, from int, index byte, number uint64) []byte {
	s.setNonce(b[from], index, number)
	return s.aead.Seal(b, s.nonce[:], nil, b[from:len(b):len(b)])
}

// open reports whether the tag at the end of a frame is right.
func (s *sealer) open(frame []byte, index byte, number uint64) bool {
	at := len(frame) - tagLen
	s.setNonce(frame[0], index, number)
	return subtle.ConstantTimeCompare(s.aead.Seal(s.tag[:0], s.nonce[:], nil, frame[:at]), frame[at:]) == 1
}
