package request

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// Attachments replaces references to NATS Object Store entries in a request by their base64, or by a URL where Kling takes
// nothing else.
type Attachments struct {
	// URL is where Kling gets an object from, until then at most; empty: there is no public URL. Nil: there is none.
	URL func(bucket, name string, until time.Time) string

	js       jetstream.JetStream
	maxBytes int64         // of the objects that one request holds as base64
	buckets  []string      // that may be read, with * for any characters; empty: all
	room     chan struct{} // bounds the objects in memory
	entry    chan struct{} // one request at a time takes its room: two with half of theirs would wait for each other
}

const (
	// maxObjects bounds the objects of one request: masks and frames together are fewer.
	maxObjects = 8
	// maxInMemory bounds the objects of all requests that are on their way to Kling at a time. A request with more than
	// that goes alone.
	maxInMemory = 4
)

// NewAttachments resolves objects of buckets that match one of the patterns, of at most maxBytes
// in one request.
func NewAttachments(js jetstream.JetStream, maxBytes int64, buckets []string) *Attachments {
	return &Attachments{js: js, maxBytes: maxBytes, buckets: buckets, room: make(chan struct{}, maxInMemory), entry: make(chan struct{}, 1)}
}

// hasReferences reports whether a value holds a reference.
func hasReferences(value json.RawMessage) bool { return countReferences(value) > 0 }

// countReferences returns how many references a value holds, however they are spelled. Most requests have none, and some have
// megabytes of base64: those are only searched.
func countReferences(value json.RawMessage) (n int) {
	if !bytes.Contains(value, []byte(events.ObjectScheme)) && bytes.IndexByte(value, '\\') < 0 {
		return 0
	}
	for {
		start := bytes.IndexByte(value, '"')
		if start < 0 {
			return n
		}
		end := start + StringLength(value[start:])
		if _, ok := reference(value[start:end]); ok {
			n++
		}
		value = value[end:]
	}
}

// reference returns the bucket and name that a JSON string refers to.
func reference(quoted []byte) (ref string, ok bool) {
	if !bytes.HasPrefix(quoted, []byte(`"`+events.ObjectScheme)) && bytes.IndexByte(quoted, '\\') < 0 {
		return "", false
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "", false
	}
	return strings.CutPrefix(s, events.ObjectScheme)
}

// Take waits until there is room for the objects of a request; done gives it back, once the body was sent.
func (in *Attachments) Take(ctx context.Context, r *Request) (done func(), err error) {
	wanted := 0
	for _, f := range r.Body.fields {
		wanted += countReferences(f.value)
	}
	if wanted == 0 {
		return func() {}, nil
	}
	if err := occupy(ctx, in.entry); err != nil {
		return nil, err
	}
	defer func() { <-in.entry }()
	taken := 0
	done = func() {
		for range taken {
			<-in.room
		}
	}
	for taken < min(wanted, maxInMemory) {
		if err := occupy(ctx, in.room); err != nil {
			done()
			return nil, err
		}
		taken++
	}
	return done, nil
}

// occupy takes one of the places of a channel.
func occupy(ctx context.Context, places chan<- struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resolve returns the body with every reference replaced. why is set when an object can't be had, which is the
// request's fault; err when NATS could not be asked.
func (in *Attachments) Resolve(ctx context.Context, r *Request) (body Object, why *events.Error, err error) {
	body = Object{fields: append([]field(nil), r.Body.fields...)}
	left := allowance{objects: maxObjects, bytes: in.maxBytes}
	for i, f := range body.fields {
		if !hasReferences(f.value) {
			continue
		}
		value, err := in.replace(ctx, f, r.Deadline, &left)
		if refused, ok := errors.AsType[*inputFault](err); ok {
			return Object{}, &events.Error{Class: events.ErrorInput, Message: f.name + ": " + refused.Error()}, nil
		}
		if err != nil {
			return Object{}, nil, fmt.Errorf("input %s: %w", f.name, err)
		}
		body.fields[i].value = value
	}
	return body, nil, nil
}

// allowance is what a request may still refer to.
type allowance struct {
	objects int
	bytes   int64
}

// inputFault tells that the request names an object that can't be used.
type inputFault struct{ reason string }

func (e *inputFault) Error() string { return e.reason }

// InputError makes an error of a fault that turned up where the request can no longer be rejected.
func InputError(why *events.Error) error {
	if why == nil {
		return nil
	}
	return why
}

// replace copies a field's JSON value with its references replaced, everything else as it was spelled.
func (in *Attachments) replace(ctx context.Context, f field, until time.Time, left *allowance) (json.RawMessage, error) {
	var out bytes.Buffer
	place := namer{f.name}
	for value := f.value; len(value) > 0; {
		start := bytes.IndexByte(value, '"')
		if start < 0 {
			out.Write(value)
			break
		}
		end := start + StringLength(value[start:])
		out.Write(value[:start])
		place.pass(value[:start])
		name, err := place.name(value[start:end], value[end:])
		if err == nil {
			err = in.replaceString(ctx, &out, value[start:end], byURL(name), until, left)
		}
		if err != nil {
			return nil, err
		}
		value = value[end:]
	}
	return out.Bytes(), nil
}

// StringLength is the length of the JSON string that b begins with, quotes included. b is valid JSON from there on.
func StringLength(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

func (in *Attachments) replaceString(
	ctx context.Context, out *bytes.Buffer, quoted []byte, byURL bool, until time.Time, left *allowance,
) error {
	ref, ok := reference(quoted)
	if !ok {
		out.Write(quoted)
		return nil
	}
	if left.objects == 0 {
		return &inputFault{fmt.Sprintf("more than %d objects in one request", maxObjects)}
	}
	left.objects--
	out.WriteByte('"')
	if err := in.copyObject(ctx, out, ref, byURL, until, left); err != nil {
		return err
	}
	out.WriteByte('"')
	return nil
}

// Allows reports whether inputs may be in a bucket. Whoever may publish requests would else read every bucket that the
// bridge can read.
func (in *Attachments) Allows(bucket string) bool {
	return len(in.buckets) == 0 || slices.ContainsFunc(in.buckets, func(pattern string) bool {
		ok, err := path.Match(pattern, bucket)
		return ok && err == nil
	})
}

func (in *Attachments) copyObject(
	ctx context.Context, out *bytes.Buffer, ref string, byURL bool, until time.Time, left *allowance,
) error {
	bucket, name, ok := strings.Cut(ref, "/")
	if !ok || bucket == "" || name == "" {
		return &inputFault{fmt.Sprintf("%s%s: want %s<bucket>/<name>", events.ObjectScheme, Clip(ref), events.ObjectScheme)}
	}
	fault := func(format string, args ...any) error {
		return &inputFault{fmt.Sprintf("object %s of bucket %s: ", Clip(name), Clip(bucket)) + fmt.Sprintf(format, args...)}
	}
	store, err := in.bucket(ctx, bucket, fault)
	if err != nil {
		return err
	}
	info, err := describe(ctx, store, bucket, name, fault)
	if err == nil {
		err = in.present(ctx, store, info, fault)
	}
	if err != nil {
		return err
	}
	if byURL {
		written, err := in.writeURL(ctx, out, object{info, until}, fault)
		if written || err != nil {
			return err
		}
	}
	return in.writeBase64(ctx, out, store, info, left, fault)
}

// describe reads what the uploader says of an object. Of a link nothing is read: it may lead to a bucket that is not
// allowed, or to itself. Nor is anything where the description names another bucket, for its content is sought there.
func describe(
	ctx context.Context, store jetstream.ObjectStore, bucket, name string, fault func(format string, args ...any) error,
) (*jetstream.ObjectInfo, error) {
	info, err := store.GetInfo(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound):
		return nil, fault("no such object")
	case errors.Is(err, jetstream.ErrBadObjectMeta):
		return nil, fault("its description can't be read")
	case err != nil:
		return nil, err
	case info.Opts != nil && info.Opts.Link != nil:
		return nil, fault("it is a link to another object, and no link is followed")
	case info.NUID == "" || strings.ContainsAny(info.NUID, ".*> \t\r\n"):
		return nil, fault("its description does not say where its content is")
	case info.Bucket != bucket:
		return nil, fault("its description is of bucket %s", Clip(info.Bucket))
	case info.Name != name:
		return nil, fault("its description is of object %s", Clip(info.Name))
	}
	return info, nil
}

// present checks that there is content: what has none can be described all the same, and would be waited for as long as the
// request has time. Where only a part is there, the digest tells. The stream's leader is asked, for a follower may lag.
func (in *Attachments) present(
	ctx context.Context, store jetstream.ObjectStore, o *jetstream.ObjectInfo, fault func(format string, args ...any) error,
) error {
	if o.Size == 0 {
		return nil
	}
	stream, err := in.js.Stream(ctx, "OBJ_"+o.Bucket)
	if err != nil {
		return err
	}
	chunks := "$O." + o.Bucket + ".C." + o.NUID
	state, err := stream.Info(ctx, jetstream.WithSubjectFilter(chunks))
	if err != nil {
		return err
	}
	if state.State.Subjects[chunks] > 0 {
		return nil
	}
	// The content of an object goes where another takes its place: that one is looked at next time.
	if now, err := store.GetInfo(ctx, o.Name); err != nil || now.NUID != o.NUID {
		return errors.Join(fmt.Errorf("object %s of bucket %s is another one by now", o.Name, o.Bucket), err)
	}
	return fault("nothing of its content is there")
}

// writeBase64 writes what an object has, if there is room for it beside those before it: all of a request are in memory at once.
func (in *Attachments) writeBase64(
	ctx context.Context, out *bytes.Buffer, store jetstream.ObjectStore, info *jetstream.ObjectInfo,
	left *allowance, fault func(format string, args ...any) error,
) error {
	tooMuch := func(size uint64) error {
		if size > uint64(in.maxBytes) {
			return fault("more than the limit of %d bytes", in.maxBytes)
		}
		return fault("with it the request's objects have more than the limit of %d bytes together (BRIDGE_MAX_INLINE_BYTES)", in.maxBytes)
	}
	if info.Size > uint64(left.bytes) {
		return tooMuch(info.Size)
	}
	obj, err := store.Get(ctx, info.Name)
	if err != nil {
		return fmt.Errorf("object %s of bucket %s: %w", info.Name, info.Bucket, err)
	}
	defer func() { _ = obj.Close() }()
	// Get follows links. One may have taken the object's place since it was looked at.
	if got, err := obj.Info(); err != nil || got.Bucket != info.Bucket || got.NUID != info.NUID {
		return errors.Join(fmt.Errorf("object %s of bucket %s is another one by now", info.Name, info.Bucket), err)
	}
	// Room for all of it at once: a buffer that grows by and by would be copied, and take several times the memory.
	out.Grow(base64.StdEncoding.EncodedLen(int(info.Size)) + bytes.MinRead)
	enc := base64.NewEncoder(base64.StdEncoding, out)
	malformed := base64.CorruptInputError(0)
	n, err := io.Copy(enc, io.LimitReader(obj, left.bytes+1)) // its size is what its uploader says
	switch {
	case errors.Is(err, jetstream.ErrDigestMismatch):
		return fault("its content does not match its digest")
	case errors.Is(err, jetstream.ErrInvalidDigestFormat) || errors.As(err, &malformed):
		return fault("its digest is none")
	case err != nil:
		return fmt.Errorf("object %s of bucket %s: %w", info.Name, info.Bucket, err)
	case n > left.bytes:
		return tooMuch(uint64(n))
	}
	left.bytes -= n
	return enc.Close()
}

// bucket opens a bucket that inputs may be in. fault makes the error that is told to the requester.
func (in *Attachments) bucket(
	ctx context.Context, bucket string, fault func(format string, args ...any) error,
) (jetstream.ObjectStore, error) {
	if !in.Allows(bucket) {
		return nil, fault("inputs are not read from that bucket (BRIDGE_INPUT_BUCKETS)")
	}
	store, err := in.js.ObjectStore(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrInvalidStoreName) {
		return nil, fault("no such bucket")
	}
	return store, err
}
