package auth

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

// Claims of a Common Access Token, by their keys: RFC 8392 §4, CTA-5007 (catv), and those of draft-ietf-moq-c4m-01, whose keys are not
// assigned yet: these are the ones in the draft's test vectors.
const (
	claimIssuer     = 1
	claimSubject    = 2
	claimAudience   = 3
	claimExpires    = 4
	claimNotBefore  = 5
	claimIssuedAt   = 6
	claimID         = 7
	claimCATVersion = 310
	claimMOQT       = 327
	claimRevalidate = 328
)

// tagCWT is the tag that may stand before the one of COSE_Sign1 (RFC 8392 §6), encoded.
var tagCWT = []byte{0xd8, 61}

// minRevalidation is the shortest interval at which tokens are checked again here, in seconds.
const minRevalidation = 1

var catMode = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 8, MaxArrayElements: 1024, MaxMapPairs: 64, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, IntDec: cbor.IntDecConvertSignedOrFail,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// sign1 is a COSE_Sign1 (RFC 9052 §4.2). It is taken apart here and not by go-cose, which refuses the header typ of the draft's own tokens.
type sign1 struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected map[any]cbor.RawMessage
	Payload     []byte
	Signature   []byte
}

// tagSign1 is the tag of a COSE_Sign1, encoded.
const tagSign1 = 0xd2

// Labels of headers (RFC 9052 §3.1).
const (
	labelAlgorithm = int64(1)
	labelCritical  = int64(2)
	labelKeyID     = int64(4)
)

// verifyCAT checks a Common Access Token. The times are checked by the caller.
func (a *Authority) verifyCAT(token []byte, now time.Time) (*Grant, error) {
	if !isCAT(token) {
		return nil, malformed("neither a JSON Web Token nor a COSE_Sign1")
	}
	token = bytes.TrimPrefix(token, tagCWT)
	var m sign1
	if err := catMode.Unmarshal(token[1:], &m); err != nil {
		return nil, malformed("%v", err)
	}
	protected := map[any]cbor.RawMessage{}
	if len(m.Protected) > 0 {
		if err := catMode.Unmarshal(m.Protected, &protected); err != nil {
			return nil, malformed("header: %v", err)
		}
	}
	if _, has := protected[labelCritical]; has { // RFC 9052 §3.1: nothing of it is understood here
		return nil, refused("it has critical parameters")
	}
	var alg int64
	if err := catMode.Unmarshal(protected[labelAlgorithm], &alg); err != nil {
		return nil, malformed("no algorithm in its protected header")
	}
	kid := protected[labelKeyID]
	if kid == nil {
		kid = m.Unprotected[labelKeyID]
	}
	id, err := readBytes(kid)
	if kid != nil && err != nil {
		return nil, malformed("key id: %v", err)
	}
	candidates, err := a.keys(id, now)
	if err != nil {
		return nil, err
	}
	signed, err := cbor.Marshal([]any{"Signature1", m.Protected, []byte{}, m.Payload}) // RFC 9052 §4.4
	if err != nil {
		return nil, malformed("%v", err)
	}
	for _, k := range candidates {
		own := cose.AlgorithmEdDSA
		if name, err := algorithm(k.Public); err != nil {
			continue
		} else if name == "ES256" {
			own = cose.AlgorithmES256
		}
		if alg != int64(own) {
			continue
		}
		v, err := cose.NewVerifier(own, k.Public)
		if err == nil && v.Verify(signed, m.Signature) == nil {
			return catGrant(m.Payload, k, a.trusted().Audiences)
		}
	}
	return nil, ErrUnknownKey
}

func catGrant(payload []byte, by Key, audiences []string) (*Grant, error) {
	var all map[any]cbor.RawMessage
	if err := catMode.Unmarshal(payload, &all); err != nil {
		return nil, malformed("claims: %v", err)
	}
	g := &Grant{ID: hashID(payload), By: "cat", Key: by.ID, signer: &by}
	for key, value := range all {
		var err error
		n, is := key.(int64)
		switch {
		case !is: // a claim with a name is nobody's that is known here
			err = refused("a claim %q, which cannot be checked here", fmt.Sprint(key))
		case n == claimIssuer, n == claimIssuedAt: // the key says who made it, and exp until when it is good
		case n == claimSubject:
			err = catMode.Unmarshal(value, &g.Subject)
		case n == claimAudience:
			var list []string
			var one string
			if catMode.Unmarshal(value, &one) == nil {
				list = []string{one}
			} else if err = catMode.Unmarshal(value, &list); err != nil {
				break
			}
			if !overlaps(list, audiences) {
				err = refused("it is for another audience")
			}
		case n == claimExpires:
			g.Expires, err = date(value)
		case n == claimNotBefore:
			g.NotBefore, err = date(value)
		case n == claimID:
			var id []byte
			if err = catMode.Unmarshal(value, &id); err == nil && goodID(hex.EncodeToString(id)) {
				g.ID = hex.EncodeToString(id)
			}
		case n == claimCATVersion:
			var version uint64
			if err = catMode.Unmarshal(value, &version); err == nil && version != 1 {
				err = refused("version %d of Common Access Tokens", version)
			}
		case n == claimMOQT:
			g.Scopes, err = catScopes(value)
		case n == claimRevalidate:
			var interval float64
			if err = catMode.Unmarshal(value, &interval); err == nil && interval != 0 && !(interval >= minRevalidation) {
				err = refused("it is to be checked every %g s, which is too often", interval)
			}
		default: // what cannot be checked would not hold (CTA-5007)
			err = refused("a claim %d, which cannot be checked here", n)
		}
		if err != nil {
			if !Refusal(err) {
				err = malformed("claim %v: %v", key, err)
			}
			return nil, err
		}
	}
	return g, nil
}

// date reads a NumericDate: seconds, as an integer or a floating-point number (RFC 8392 §2).
func date(raw cbor.RawMessage) (time.Time, error) {
	var s float64
	if err := catMode.Unmarshal(raw, &s); err != nil {
		return time.Time{}, err
	}
	if math.IsNaN(s) || s < 0 {
		return time.Time{}, fmt.Errorf("%v is no date", s)
	}
	s = min(s, 1<<37) // some thousand years
	whole, part := math.Modf(s)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}

// catScopes reads the value of the claim moqt.
func catScopes(raw cbor.RawMessage) ([]Scope, error) {
	var list [][]cbor.RawMessage
	if err := catMode.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 || len(list) > maxScopes {
		return nil, fmt.Errorf("%d scopes, want 1 to %d", len(list), maxScopes)
	}
	scopes := make([]Scope, len(list))
	for i, parts := range list {
		if err := scopes[i].read(parts); err != nil {
			return nil, fmt.Errorf("scope %d: %w", i+1, err)
		}
	}
	return scopes, nil
}

// maxFields bounds the matches of a scope: no namespace has more fields.
const maxFields = 32

func (s *Scope) read(parts []cbor.RawMessage) error {
	if len(parts) < 1 || len(parts) > 3 {
		return fmt.Errorf("%d elements, want 1 to 3", len(parts))
	}
	var actions []int64
	if err := catMode.Unmarshal(parts[0], &actions); err != nil {
		return err
	}
	if len(actions) == 0 {
		return fmt.Errorf("no action")
	}
	for _, a := range actions {
		if a >= 0 && a <= int64(TrackStatus) { // others are of a later draft
			s.Actions |= Of(Action(a))
		}
	}
	if len(parts) > 1 {
		var fields []cbor.RawMessage
		if err := catMode.Unmarshal(parts[1], &fields); err != nil {
			return err
		}
		if len(fields) > maxFields+1 {
			return fmt.Errorf("%d fields of a namespace", len(fields))
		}
		for i, f := range fields {
			if bytes.Equal(f, []byte{0xf6}) { // nil
				if i < len(fields)-1 {
					return fmt.Errorf("nil before the end of a namespace")
				}
				s.End = true
				break
			}
			m, err := readMatch(f)
			if err != nil {
				return err
			}
			s.Namespace = append(s.Namespace, m)
		}
	}
	if len(parts) > 2 {
		m, err := readMatch(parts[2])
		if err != nil {
			return err
		}
		s.Track = &m
	}
	return nil
}

// readMatch reads a bin-match: a byte string, or a kind and a byte string.
func readMatch(raw cbor.RawMessage) (m Match, err error) {
	if len(raw) > 0 && raw[0]>>5 == 2 { // a byte string
		m.Text, err = readBytes(raw)
		return m, err
	}
	var pair []cbor.RawMessage
	if err := catMode.Unmarshal(raw, &pair); err != nil {
		return m, err
	}
	if len(pair) != 2 {
		return m, fmt.Errorf("a match of %d elements", len(pair))
	}
	if err := catMode.Unmarshal(pair[0], &m.Kind); err != nil {
		return m, err
	}
	if m.Kind != Prefix && m.Kind != Suffix {
		return m, fmt.Errorf("a match of kind %d", m.Kind)
	}
	m.Text, err = readBytes(pair[1])
	return m, err
}

func readBytes(raw cbor.RawMessage) (string, error) {
	if len(raw) == 0 || raw[0]>>5 != 2 {
		return "", fmt.Errorf("no byte string")
	}
	var b []byte
	err := catMode.Unmarshal(raw, &b)
	return string(b), err
}
