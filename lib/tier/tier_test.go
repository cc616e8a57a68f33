package tier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

func about(b []byte) store.Tiered {
	return store.Tiered{Bytes: int64(len(b)), Sum: object.Sum(b), Written: time.Date(2026, 11, 30, 1, 2, 3, 4, time.UTC)}
}

const key = "ec-atsc-2065-3/ts_t07/890000/58327040013871.eco"

func TestBucket(t *testing.T) {
	s := newS3(t)
	b, body := s.bucket(t, 0), bytes.Repeat([]byte("some bytes "), 20_000)
	if _, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of what is not there: %v", err)
	}
	if _, _, err := b.Get(t.Context(), key, 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of what is not there: %v", err)
	}
	if err := b.Put(t.Context(), key, body, about(body), false); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.objects["/archive/some/prefix/"+key]; !ok || len(s.objects) != 1 {
		t.Errorf("there are %d objects", len(s.objects))
	}
	if d, err := b.Stat(t.Context(), key); err != nil || d.Bytes != int64(len(body)) || d.Sum != object.Sum(body) || !d.Written.Equal(about(body).Written) {
		t.Errorf("Stat: %+v, %v", d, err)
	}
	got, d, err := b.Get(t.Context(), key, 1<<20)
	if err != nil || !bytes.Equal(got, body) || d != about(body) {
		t.Errorf("Get: %d bytes, %+v, %v", len(got), d, err)
	}
	if _, _, err := b.Get(t.Context(), key, 1000); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of too much: %v", err)
	}
	if err := b.Put(t.Context(), key, body, about(body), false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Put of what is there: %v", err)
	}
	if err := b.Put(t.Context(), key, body[1:], about(body[1:]), true); err != nil {
		t.Errorf("replacing: %v", err)
	}
	if err := b.Remove(t.Context(), []string{key, "not/there"}); err != nil || len(s.objects) != 0 {
		t.Errorf("Remove: %v, %d objects", err, len(s.objects))
	}
	if s.signed != len(s.asked) {
		t.Errorf("%d of %d requests are signed", s.signed, len(s.asked))
	}
	if want := []string{"HEAD", "GET", "PUT", "HEAD", "HEAD", "GET", "GET", "PUT", "PUT", "HEAD", "POST"}; true {
		var got []string
		for _, a := range s.asked {
			got = append(got, strings.Fields(a)[0])
		}
		if !slices.Equal(got, want) { // none asks for a region, and none is made twice
			t.Errorf("requests were %q", got)
		}
	}
}

func TestList(t *testing.T) {
	s := newS3(t)
	b := s.bucket(t, 0)
	for i := range 10 {
		s.objects[fmt.Sprintf("/archive/some/prefix/%d", i)] = s3Object{body: make([]byte, i)}
	}
	s.objects["/archive/some/other"] = s3Object{}
	var got []string
	for after := ""; ; {
		list, err := b.List(t.Context(), after, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			got = append(got, k.Key)
			after = k.Key
		}
		if len(list) < 4 {
			break
		}
	}
	if strings.Join(got, "") != "0123456789" {
		t.Errorf("listed %q", got)
	}
}

// Whatever the server does, the error is about the bucket and not about the object, and comes in time.
func TestBucketThatFails(t *testing.T) {
	status := func(code int, name string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			io.Copy(io.Discard, r.Body)
			refuse(w, code, name)
			return true
		}
	}
	for name, wrong := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"refuses":       status(http.StatusForbidden, "AccessDenied"),
		"is slow":       status(http.StatusServiceUnavailable, "SlowDown"),
		"is full":       status(http.StatusInsufficientStorage, "XMinioStorageFull"),
		"has no bucket": status(http.StatusNotFound, "NoSuchBucket"),
		"breaks":        status(http.StatusInternalServerError, "InternalError"),
		"answers no XML": func(w http.ResponseWriter, r *http.Request) bool {
			http.Error(w, "<html>", http.StatusBadGateway)
			return true
		},
		"moves": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusMovedPermanently)
			return true
		},
		"hangs up": func(w http.ResponseWriter, r *http.Request) bool { panic(http.ErrAbortHandler) },
		"stops in midway": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("ETag", `"x"`)
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.Write(make([]byte, 500))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newS3(t)
			s.Config.ErrorLog = nil
			b, body := s.bucket(t, 0), []byte("bytes")
			s.misbehave(wrong)
			_, _, gerr := b.Get(t.Context(), key, 1<<20)
			perr := b.Put(t.Context(), key, body, about(body), false)
			_, lerr := b.List(t.Context(), "", 10)
			rerr := b.Remove(t.Context(), []string{key})
			for what, err := range map[string]error{"get": gerr, "put": perr, "list": lerr, "remove": rerr} {
				if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
					t.Errorf("%s: %v", what, err)
				} else if strings.Contains(err.Error(), "the-secret") || strings.Contains(err.Error(), "Signature") {
					t.Errorf("%s tells secrets: %v", what, err)
				}
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if n := len(s.asked); n > 6 { // an upload may be looked at, and compared
				t.Errorf("%d requests for four: %q", n, s.asked)
			}
		})
	}
}

// Something that is no server of S3 has answered with 404, such as a proxy before it: that says nothing about the object, which would count as lost.
func TestNotFoundOfAProxy(t *testing.T) {
	s := newS3(t)
	b := s.bucket(t, 0)
	for what, answer := range map[string]string{"a page": "<html><body>404 Not Found</body></html>", "text": "404 page not found", "nothing": ""} {
		s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, answer)
			return true
		})
		if _, _, err := b.Get(t.Context(), "a/b/0/1.eco", 100); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.misbehave(nil)
	if _, _, err := b.Get(t.Context(), "a/b/0/1.eco", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of S3: %v", err)
	}
}

// A HEAD has no body, so its 404 does not say whether key or bucket are missing. An upload tells.
func TestUploadThatIsNotThere(t *testing.T) {
	for name, wrong := range map[string]func(s *s3) func(w http.ResponseWriter, r *http.Request) bool{
		"lost": func(s *s3) func(w http.ResponseWriter, r *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					io.Copy(io.Discard, r.Body)
				}
				return r.Method == http.MethodPut
			}
		},
		"other bytes": func(s *s3) func(w http.ResponseWriter, r *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodHead {
					s.mu.Lock()
					o := s.objects[r.URL.Path]
					o.body = []byte("BYTES")
					s.objects[r.URL.Path] = o
					s.mu.Unlock()
				}
				return false
			}
		},
		"cut": func(s *s3) func(w http.ResponseWriter, r *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodHead {
					s.mu.Lock()
					o := s.objects[r.URL.Path]
					o.body = o.body[:2]
					s.objects[r.URL.Path] = o
					s.mu.Unlock()
				}
				return false
			}
		},
		"without metadata": func(s *s3) func(w http.ResponseWriter, r *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				for k := range r.Header {
					if strings.HasPrefix(k, "X-Amz-Meta-") {
						r.Header.Del(k)
					}
				}
				return false
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newS3(t)
			b, body := s.bucket(t, 0), []byte("bytes")
			s.misbehave(wrong(s))
			if err := b.Put(t.Context(), key, body, about(body), false); err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
				t.Errorf("Put: %v", err)
			}
		})
	}
}

// Servers that know no conditions, or make ETags of their own, do as well.
func TestOtherServers(t *testing.T) {
	for name, wrong := range map[string]func(s *s3) func(w http.ResponseWriter, r *http.Request) bool{
		"no conditions": func(*s3) func(w http.ResponseWriter, r *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				no := r.Header.Get("If-None-Match") != ""
				if no {
					io.Copy(io.Discard, r.Body)
					refuse(w, http.StatusNotImplemented, "NotImplemented")
				}
				return no
			}
		},
		"other ETags": func(s *s3) func(w http.ResponseWriter, r *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.etag = `"0123456789abcdef0123456789abcdef"`
				return false
			}
		},
		"no ETags": func(s *s3) func(w http.ResponseWriter, r *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.etag = `""`
				return false
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newS3(t)
			b, body := s.bucket(t, 0), []byte("bytes")
			s.misbehave(wrong(s))
			if err := b.Put(t.Context(), key, body, about(body), false); err != nil {
				t.Errorf("Put: %v", err)
			}
			if got, _, err := b.Get(t.Context(), key, 100); err != nil || !bytes.Equal(got, body) {
				t.Errorf("Get: %q, %v", got, err)
			}
		})
	}
}

func TestRate(t *testing.T) {
	s := newS3(t)
	b, body := s.bucket(t, 1<<20), make([]byte, 512<<10)
	begun := time.Now()
	if err := b.Put(t.Context(), key, body, about(body), false); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 350*time.Millisecond {
		t.Errorf("512 KiB at 1 MiB a second took %v", took)
	}
}

// An upload that is cancelled leaves nothing.
func TestUploadCancelled(t *testing.T) {
	s := newS3(t)
	b, body := s.bucket(t, 1<<20), make([]byte, 4<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := b.Put(ctx, key, body, about(body), false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: %v", err)
	}
	if _, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
}

// A server that accepts and says nothing is given up.
func TestSilentServer(t *testing.T) {
	s := newS3(t)
	gate := make(chan struct{})
	defer close(gate)
	s.misbehave(func(http.ResponseWriter, *http.Request) bool { <-gate; return true })
	b := s.bucket(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := b.Get(ctx, key, 1<<20); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get: %v", err)
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]Place{
		"https://s3.eu-central-1.amazonaws.com/bucket?region=eu-central-1": {"s3.eu-central-1.amazonaws.com", true, "eu-central-1", "bucket", ""},
		"https://host:9000/bucket/":                                        {"host:9000", true, "us-east-1", "bucket", ""},
		"http://127.0.0.1:7070/bucket/some/prefix/":                        {"127.0.0.1:7070", false, "us-east-1", "bucket", "some/prefix/"},
	} {
		if got, err := ParseURL(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "bucket", "s3://bucket/prefix", "https://host", "https://host/", "https://host/b?regio=x", "https://host/b#f", "https://host/b//c",
		"https://AKEY:the-secret@host/bucket", "https://AKEY:the-%zzsecret@host/bucket"} {
		if _, err := ParseURL(text); err == nil {
			t.Errorf("%s passed", text)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v tells secrets", err)
		}
	}
}

func TestCredentials(t *testing.T) {
	none := func(string) string { return "" }
	env := func(name string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S", "AWS_SESSION_TOKEN": "T"}[name]
	}
	if c, err := ReadCredentials("", env); err != nil || c != (Credentials{"K", "S", "T"}) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := ReadCredentials("", none); err == nil {
		t.Error("no keys passed")
	}
	dir := t.TempDir()
	write := func(mode os.FileMode, text string) string {
		path := filepath.Join(dir, "keys")
		os.Remove(path)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := "# keys\n[other]\naws_access_key_id = no\n[default]\naws_access_key_id = K\naws_secret_access_key=S/=+\n"
	if c, err := ReadCredentials(write(0o600, good), env); err != nil || c != (Credentials{"K", "S/=+", ""}) {
		t.Errorf("%v, %v", c, err)
	}
	for name, path := range map[string]string{"for everybody": write(0o644, good)} {
		if _, err := ReadCredentials(path, env); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	for _, text := range []string{"", "aws_access_key_id = K\n", "[other]\n" + good[7:30]} {
		if _, err := ReadCredentials(write(0o600, text), env); err == nil || strings.Contains(err.Error(), "= K") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ReadCredentials(dir, none); err == nil {
		t.Error("a folder passed")
	}
	c := Credentials{"AKEY", "the-secret", ""}
	if text := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(text, "the-secret") {
		t.Errorf("printed: %s", text)
	}
}

// Keys that are replaced in their file are used from then on, and those that cannot be read stay.
func TestCredentialsAreReread(t *testing.T) {
	var next Credentials
	var fail error
	s := &signer{now: Credentials{Key: "one", Secret: "s"}, reread: func() (Credentials, error) { return next, fail }}
	key := func() string {
		t.Helper()
		if !s.IsExpired() {
			t.Error("they are not read anew")
		}
		v, err := s.Retrieve()
		if err != nil {
			t.Fatal(err)
		}
		if s.IsExpired() {
			t.Error("they are read anew at once")
		}
		s.at = s.at.Add(-2 * rereadEvery)
		return v.AccessKeyID
	}
	if got := key(); got != "one" {
		t.Errorf("first %s", got)
	}
	next = Credentials{Key: "two", Secret: "s"}
	if got := key(); got != "two" {
		t.Errorf("then %s", got)
	}
	next, fail = Credentials{}, errors.New("the file is being written")
	if got := key(); got != "two" {
		t.Errorf("then %s", got)
	}
}
