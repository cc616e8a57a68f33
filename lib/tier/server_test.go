package tier

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// s3 is a server that knows of S3 what a Bucket asks for, and misbehaves on request. It checks no signature.
type s3 struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string]s3Object // by path
	asked   []string            // "METHOD path"
	signed  int                 // requests that carry a signature
	// wrong may answer a request in its own way; true: it has.
	wrong func(w http.ResponseWriter, r *http.Request) bool
	etag  string // that it shows; empty: the MD5
}

type s3Object struct {
	body []byte
	meta http.Header
}

func newS3(t testing.TB) *s3 {
	s := &s3{objects: make(map[string]s3Object)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *s3) bucket(t testing.TB, rate int64) *Bucket {
	t.Helper()
	b, err := Open(Config{URL: s.URL + "/archive/some/prefix", Credentials: Credentials{Key: "AKEY", Secret: "the-secret"}, Rate: rate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func (s *s3) misbehave(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = f
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>said %s</Message></Error>`, code, code)
}

func (s *s3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	if strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKEY/") {
		s.signed++
	}
	wrong := s.wrong
	s.mu.Unlock()
	if wrong != nil && wrong(w, r) {
		return
	}
	switch {
	case r.Method == http.MethodPut:
		s.put(w, r)
	case r.Method == http.MethodPost && r.URL.Query().Has("delete"):
		s.remove(w, r)
	case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		s.list(w, r)
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		s.get(w, r)
	default:
		refuse(w, http.StatusNotImplemented, "NotImplemented")
	}
}

func (s *s3) put(w http.ResponseWriter, r *http.Request) {
	var body []byte
	var err error
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		body, err = unchunk(r.Body)
	} else {
		body, err = io.ReadAll(r.Body)
	}
	if err != nil {
		return // the client left: nothing is stored
	}
	sum := md5.Sum(body)
	if want := r.Header.Get("Content-Md5"); want != base64.StdEncoding.EncodeToString(sum[:]) {
		refuse(w, http.StatusBadRequest, "BadDigest")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[r.URL.Path]; ok && r.Header.Get("If-None-Match") == "*" {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	meta := make(http.Header)
	for k, v := range r.Header {
		if strings.HasPrefix(k, "X-Amz-Meta-") {
			meta[k] = v
		}
	}
	s.objects[r.URL.Path] = s3Object{body, meta}
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
}

// unchunk reads a body with a signature in front of each chunk.
func unchunk(r io.Reader) (body []byte, err error) {
	all, err := io.ReadAll(r)
	for err == nil {
		head, rest, ok := bytes.Cut(all, []byte("\r\n"))
		n, perr := strconv.ParseInt(strings.Split(string(head), ";")[0], 16, 32)
		if !ok || perr != nil || int(n)+2 > len(rest) {
			return nil, io.ErrUnexpectedEOF
		}
		if n == 0 {
			return body, nil
		}
		body, all = append(body, rest[:n]...), rest[n+2:]
	}
	return nil, err
}

func (s *s3) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	o, ok := s.objects[r.URL.Path]
	s.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	maps.Copy(w.Header(), o.meta)
	sum := md5.Sum(o.body)
	w.Header().Set("ETag", cmp.Or(s.etag, `"`+hex.EncodeToString(sum[:])+`"`))
	w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", strconv.Itoa(len(o.body)))
	if r.Method == http.MethodGet {
		w.Write(o.body)
	}
}

func (s *s3) remove(w http.ResponseWriter, r *http.Request) {
	var order struct {
		Object []struct{ Key string }
	}
	if err := xml.NewDecoder(r.Body).Decode(&order); err != nil {
		refuse(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprint(w, `<DeleteResult>`)
	for _, o := range order.Object {
		delete(s.objects, strings.TrimSuffix(r.URL.Path, "/")+"/"+o.Key)
		fmt.Fprintf(w, `<Deleted><Key>%s</Key></Deleted>`, o.Key)
	}
	fmt.Fprint(w, `</DeleteResult>`)
}

func (s *s3) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	most, _ := strconv.Atoi(q.Get("max-keys"))
	after := max(q.Get("start-after"), q.Get("continuation-token"))
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprint(w, `<ListBucketResult>`)
	n, last := 0, ""
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		key := strings.TrimPrefix(path, strings.TrimSuffix(r.URL.Path, "/")+"/")
		if !strings.HasPrefix(key, q.Get("prefix")) || key <= after {
			continue
		}
		if n == most {
			fmt.Fprintf(w, `<IsTruncated>true</IsTruncated><NextContinuationToken>%s</NextContinuationToken>`, last)
			break
		}
		fmt.Fprintf(w, `<Contents><Key>%s</Key><Size>%d</Size><LastModified>2026-11-30T00:00:00Z</LastModified></Contents>`, key, len(s.objects[path].body))
		n, last = n+1, key
	}
	fmt.Fprint(w, `</ListBucketResult>`)
}
