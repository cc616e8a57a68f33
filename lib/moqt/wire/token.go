package wire

// TokenAliasType says how an authorization token is to be read (§9.2.2.1, §14.1).
type TokenAliasType uint64

// Token alias types.
const (
	TokenDelete   TokenAliasType = 0
	TokenRegister TokenAliasType = 1
	TokenUseAlias TokenAliasType = 2
	TokenUseValue TokenAliasType = 3
)

// Token is the structure of the AUTHORIZATION TOKEN parameter (§9.2.2.1).
type Token struct {
	AliasType TokenAliasType
	Alias     uint64 // DELETE, REGISTER, USE_ALIAS
	Type      uint64 // REGISTER, USE_VALUE; 0 is agreed out of band
	Value     []byte // REGISTER, USE_VALUE
}

// Append writes the token structure.
func (t Token) Append(b []byte, v Version) []byte {
	w := newWriter(b, v)
	w.varint(uint64(t.AliasType))
	if t.AliasType != TokenUseValue {
		w.varint(t.Alias)
	}
	if t.AliasType == TokenRegister || t.AliasType == TokenUseValue {
		w.varint(t.Type)
		w.b = append(w.b, t.Value...)
	}
	return w.b
}

// ParseToken reads a token structure that fills b. Value is a copy.
func ParseToken(b []byte, v Version) (t Token, err error) {
	r := newReader(b, v)
	t.AliasType = TokenAliasType(r.varint("alias type"))
	switch t.AliasType {
	case TokenDelete, TokenUseAlias:
		t.Alias = r.varint("alias")
	case TokenRegister:
		t.Alias = r.varint("alias")
		t.Type = r.varint("type")
		t.Value = append([]byte{}, r.rest()...)
	case TokenUseValue:
		t.Type = r.varint("type")
		t.Value = append([]byte{}, r.rest()...)
	default:
		return t, badKeyValue("authorization token: alias type %d", uint64(t.AliasType))
	}
	if err := r.done("authorization token"); err != nil {
		return t, badKeyValue("%v", err)
	}
	return t, nil
}
