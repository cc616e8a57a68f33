package tier

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Credentials are what requests are signed with. They never print.
type Credentials struct{ Key, Secret, Token string }

// String says whether there are any.
func (c Credentials) String() string {
	if c.Key == "" {
		return "none"
	}
	return "given"
}

// GoString is String.
func (c Credentials) GoString() string { return c.String() }

// mostCredentials bounds the file of the credentials.
const mostCredentials = 64 << 10

// ReadCredentials reads credentials from a file as AWS's own tools write it: lines of name = value, of which aws_access_key_id,
// aws_secret_access_key and aws_session_token count, in the section [default] or before any. Or, without a file, from the variables with these names
// in capitals.
func ReadCredentials(file string, getenv func(string) string) (Credentials, error) {
	if file == "" {
		c := Credentials{getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN")}
		if c.Key == "" || c.Secret == "" {
			return c, errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and no file is named")
		}
		return c, nil
	}
	st, err := os.Stat(file)
	if err != nil {
		return Credentials{}, err
	}
	if !st.Mode().IsRegular() || st.Size() > mostCredentials {
		return Credentials{}, fmt.Errorf("%s: not a file of credentials", file)
	}
	if st.Mode().Perm()&0o007 != 0 {
		return Credentials{}, fmt.Errorf("%s: everybody may use this file: chmod o= %[1]s", file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return Credentials{}, err
	}
	var c Credentials
	counts := true
	for s := bufio.NewScanner(strings.NewReader(string(b))); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if strings.HasPrefix(line, "[") {
			counts = line == "[default]"
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || !counts || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "aws_access_key_id":
			c.Key = value
		case "aws_secret_access_key":
			c.Secret = value
		case "aws_session_token":
			c.Token = value
		}
	}
	if c.Key == "" || c.Secret == "" {
		return c, fmt.Errorf("%s: want aws_access_key_id = … and aws_secret_access_key = …", file)
	}
	return c, nil
}

// rereadEvery is how often credentials are read anew.
const rereadEvery = time.Minute

// signer gives minio-go the credentials. Those that cannot be read anew stay.
type signer struct {
	mu     sync.Mutex
	now    Credentials
	reread func() (Credentials, error)
	at     time.Time // when they were read last
}

func (s *signer) Retrieve() (credentials.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reread != nil && !s.at.IsZero() {
		if c, err := s.reread(); err == nil {
			s.now = c
		}
	}
	s.at = time.Now()
	return credentials.Value{AccessKeyID: s.now.Key, SecretAccessKey: s.now.Secret, SessionToken: s.now.Token, SignerType: credentials.SignatureV4}, nil
}

// RetrieveWithCredContext is Retrieve: nobody is asked.
func (s *signer) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return s.Retrieve()
}

func (s *signer) IsExpired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reread != nil && time.Since(s.at) > rereadEvery
}
