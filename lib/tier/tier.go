// Package tier is a bucket of a server that speaks S3, as the cold tier of a relay's store.
//
// In flow whole groups, out flow the same bytes; which groups, and when, the store decides. Only the server that is configured is contacted, and
// each request is made once: the store tries again. The keys and what is under them are in docs/format/tier.md.
package tier

import (
	"bytes"
	"context"
	"crypto/md5" // what S3 compares, and no secret
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"every.channel/ec/lib/store"
)

// Config says which bucket. URL and the keys are required.
type Config struct {
	// URL is that of the server, then the bucket, then a prefix of all keys, which may be empty: https://HOST[:PORT]/BUCKET[/PREFIX]. A query
	// ?region=NAME names the region; default: us-east-1.
	URL string
	// Credentials sign the requests.
	Credentials Credentials
	// Reread reads the credentials anew, every minute, for those that are replaced now and then. Default: they stay.
	Reread func() (Credentials, error)
	// Rate bounds the bytes a second that are sent. Default 0: no bound.
	Rate int64
}

// Metadata fields of an object.
const (
	metaSum     = "Ec-Blake3"
	metaWritten = "Ec-Written"
)

// Times and bounds of requests.
const (
	dialPatience   = 10 * time.Second
	answerPatience = 15 * time.Second // until an answer begins, after a request was sent
	requestMost    = time.Minute      // for requests without a body
	writePatience  = 30 * time.Second // for the server to take some bytes of a body
)

// Bucket is a bucket with a prefix. Its methods may be called concurrently.
type Bucket struct {
	c              minio.Core
	bucket, prefix string
	name           string
	transport      *http.Transport
}

// Place is what the URL of a bucket says.
type Place struct {
	Host           string
	Secure         bool
	Region         string
	Bucket, Prefix string
}

// ParseURL reads the URL of a bucket.
func ParseURL(text string) (p Place, err error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return p, errors.New("not a URL") // the error would show what may be a secret
	case u.User != nil:
		return p, errors.New("a URL of a bucket holds no keys: they come from the environment or a file")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.Fragment != "":
		return p, fmt.Errorf("%q: want https://HOST/BUCKET/PREFIX", text)
	}
	for key := range u.Query() {
		if key != "region" {
			return p, fmt.Errorf("%q: unknown parameter %q; there is region", text, key)
		}
	}
	p = Place{Host: u.Host, Secure: u.Scheme == "https", Region: u.Query().Get("region")}
	if p.Region == "" {
		p.Region = "us-east-1"
	}
	p.Bucket, p.Prefix, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
	if p.Bucket == "" {
		return p, fmt.Errorf("%q names no bucket: want https://HOST/BUCKET/PREFIX", text)
	}
	if strings.Contains("/"+p.Prefix, "//") {
		return p, fmt.Errorf("%q: the prefix has an empty part", text)
	}
	if p.Prefix != "" {
		p.Prefix += "/"
	}
	return p, nil
}

// Open returns the bucket that the configuration names. Nothing is asked yet.
func Open(c Config) (*Bucket, error) {
	p, err := ParseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Credentials.Key == "" || c.Credentials.Secret == "" {
		return nil, errors.New("no keys for the bucket")
	}
	b := &Bucket{bucket: p.Bucket, prefix: p.Prefix, name: p.Host + "/" + p.Bucket + "/" + strings.TrimSuffix(p.Prefix, "/")}
	b.name = strings.TrimSuffix(b.name, "/")
	b.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dial, TLSHandshakeTimeout: dialPatience,
		ResponseHeaderTimeout: answerPatience, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 16, DisableCompression: true,
		ForceAttemptHTTP2: true,
	}
	core, err := minio.NewCore(p.Host, &minio.Options{
		Creds: credentials.New(&signer{now: c.Credentials, reread: c.Reread}), Secure: p.Secure, Region: p.Region,
		Transport: &paced{rate: c.Rate, next: b.transport}, MaxRetries: 1,
	})
	if err != nil {
		return nil, err
	}
	core.SetS3EnableDualstack(false) // the server that the URL names
	core.SetAppInfo("ec-relay", "1")
	b.c = *core
	return b, nil
}

// dial opens a connection whose other side has to take what is sent.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: dialPatience}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return patient{c}, nil
}

// patient fails when the other side takes nothing for a time.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

// String names the bucket.
func (b *Bucket) String() string { return b.name }

// Close closes connections that nobody uses.
func (b *Bucket) Close() { b.transport.CloseIdleConnections() }

// Stat describes an object.
func (b *Bucket) Stat(ctx context.Context, key string) (store.Tiered, error) {
	i, err := b.stat(ctx, key)
	if err != nil {
		return store.Tiered{}, err
	}
	return described(i), nil
}

func (b *Bucket) stat(ctx context.Context, key string) (minio.ObjectInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, requestMost)
	defer cancel()
	i, err := b.c.StatObject(ctx, b.bucket, b.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		err = b.wrong(err, key)
	}
	return i, err
}

// described reads the metadata of an object. What cannot be read is not known.
func described(i minio.ObjectInfo) store.Tiered {
	d := store.Tiered{Bytes: i.Size}
	if sum, err := hex.DecodeString(i.UserMetadata[metaSum]); err == nil && len(sum) == len(d.Sum) {
		copy(d.Sum[:], sum)
	}
	if at, err := time.Parse(time.RFC3339Nano, i.UserMetadata[metaWritten]); err == nil {
		d.Written = at
	}
	return d
}

// Put stores an object, and asks the server afterwards whether it is there.
func (b *Bucket) Put(ctx context.Context, key string, body []byte, d store.Tiered, replace bool) error {
	sum := md5.Sum(body)
	opts := minio.PutObjectOptions{
		ContentType:      "application/octet-stream",
		UserMetadata:     map[string]string{metaSum: d.Sum.String(), metaWritten: d.Written.UTC().Format(time.RFC3339Nano)},
		DisableMultipart: true,
	}
	if !replace {
		opts.SetMatchETagExcept("*")
	}
	_, err := b.c.PutObject(ctx, b.bucket, b.prefix+key, bytes.NewReader(body), int64(len(body)), base64.StdEncoding.EncodeToString(sum[:]), "", opts)
	if !replace && minio.ToErrorResponse(err).StatusCode == http.StatusNotImplemented { // it knows no conditions
		return b.Put(ctx, key, body, d, true)
	}
	if err != nil {
		return b.wrong(err, key)
	}
	i, err := b.stat(ctx, key)
	if err != nil {
		return fmt.Errorf("after the upload: %w", noPlace(err))
	}
	if tag := strings.ToLower(strings.Trim(i.ETag, `"`)); tag != hex.EncodeToString(sum[:]) && !encrypted(i) {
		if err := b.compare(ctx, key, body); err != nil { // some servers make other tags
			return fmt.Errorf("after the upload: %w", noPlace(err))
		}
	}
	if got := described(i); got.Bytes != d.Bytes || got.Sum != d.Sum {
		return fmt.Errorf("%s: %s has %d bytes with the hash %v after the upload, %d with %v were sent", b, key, got.Bytes, got.Sum, d.Bytes, d.Sum)
	}
	return nil
}

// noPlace is an error that does not say any more that an object is or is not there.
func noPlace(err error) error { return errors.New(err.Error()) }

// encrypted reports whether the server says that it encrypts an object with a key by which its ETag is no MD5.
func encrypted(i minio.ObjectInfo) bool {
	return strings.HasPrefix(i.Metadata.Get("X-Amz-Server-Side-Encryption"), "aws:kms") || i.Metadata.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") != ""
}

// compare reads an object and compares it with what it should be.
func (b *Bucket) compare(ctx context.Context, key string, want []byte) error {
	got, _, err := b.Get(ctx, key, int64(len(want)))
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%s: %s has other bytes than were sent", b, key)
	}
	return err
}

// Get returns the bytes of an object.
func (b *Bucket) Get(ctx context.Context, key string, most int64) ([]byte, store.Tiered, error) {
	body, i, _, err := b.c.GetObject(ctx, b.bucket, b.prefix+key, minio.GetObjectOptions{})
	if err != nil {
		var r minio.ErrorResponse
		said := errors.As(err, &r) && r.XMLName.Local != "" // by S3; minio-go takes any other 404 for the same, such as a proxy's
		if err = b.wrong(err, key); errors.Is(err, fs.ErrNotExist) && !said {
			err = fmt.Errorf("%w, which S3 would say otherwise", noPlace(err))
		}
		return nil, store.Tiered{}, err
	}
	defer body.Close()
	if i.Size > most {
		return nil, store.Tiered{}, fmt.Errorf("%s: %s has %d bytes, at most %d were expected", b, key, i.Size, most)
	}
	var buf bytes.Buffer
	if i.Size > 0 {
		buf.Grow(int(i.Size) + bytes.MinRead)
	}
	if _, err := io.Copy(&buf, io.LimitReader(body, most+1)); err != nil {
		return nil, store.Tiered{}, b.wrong(err, key)
	}
	if int64(buf.Len()) != i.Size {
		return nil, store.Tiered{}, fmt.Errorf("%s: %d bytes of %s came, %d were announced", b, buf.Len(), key, i.Size)
	}
	return buf.Bytes(), described(i), nil
}

// Remove deletes objects, all with one request.
func (b *Bucket) Remove(ctx context.Context, keys []string) error {
	ctx, cancel := context.WithTimeout(ctx, requestMost)
	defer cancel()
	objects := make(chan minio.ObjectInfo, len(keys))
	for _, k := range keys {
		objects <- minio.ObjectInfo{Key: b.prefix + k}
	}
	close(objects)
	var first error
	for e := range b.c.RemoveObjects(ctx, b.bucket, objects, minio.RemoveObjectsOptions{}) {
		err := b.wrong(e.Err, strings.TrimPrefix(e.ObjectName, b.prefix))
		if first == nil && !errors.Is(err, fs.ErrNotExist) {
			first = err
		}
	}
	return first
}

// List returns objects behind a key.
func (b *Bucket) List(ctx context.Context, after string, most int) (keys []store.TieredKey, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestMost)
	defer cancel() // which also ends the list
	opts := minio.ListObjectsOptions{Prefix: b.prefix, Recursive: true, MaxKeys: most}
	if after != "" {
		opts.StartAfter = b.prefix + after
	}
	for i := range b.c.Client.ListObjects(ctx, b.bucket, opts) {
		if i.Err != nil {
			return nil, b.wrong(i.Err, "")
		}
		keys = append(keys, store.TieredKey{Key: strings.TrimPrefix(i.Key, b.prefix), Tiered: store.Tiered{Bytes: i.Size, Written: i.LastModified}})
		if len(keys) == most {
			break
		}
	}
	return keys, nil
}

// wrong says what a request's error says about the object.
func (b *Bucket) wrong(err error, key string) error {
	where := b.name
	if key != "" {
		where += ": " + key
	}
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		var u *url.Error
		if errors.As(err, &u) { // which would show the signed address
			err = u.Err
		}
		return fmt.Errorf("%s: %w", where, err)
	}
	said := fmt.Errorf("%s: %s (%d %s)", where, r.Message, r.StatusCode, r.Code)
	switch {
	case r.Code == minio.NoSuchKey:
		return fmt.Errorf("%w: %w", said, fs.ErrNotExist)
	case r.StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", said, fs.ErrExist)
	}
	return said
}

var _ store.Tier = (*Bucket)(nil)
