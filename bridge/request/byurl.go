package request

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// byURL reports whether a field of that name is one where Kling takes a URL: of videos and audio nothing else.
func byURL(name string) bool { return name == "url" || strings.HasSuffix(name, "_url") }

// namer knows the names that lead to a place in a JSON value, which is read from its beginning. The last is that of the field.
type namer []string

// pass reads what lies between two strings. What is in a list has the name of the list.
func (n *namer) pass(between []byte) {
	for _, c := range between {
		switch c {
		case '{', '[':
			*n = append(*n, (*n)[len(*n)-1])
		case '}', ']':
			*n = (*n)[:len(*n)-1]
		}
	}
}

// name returns the name of the field that a string is the value of. A string that is a name itself, which a colon follows, is
// the value of none.
func (n namer) name(quoted, rest []byte) (name string, err error) {
	if !bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":")) {
		return n[len(n)-1], nil
	}
	return "", json.Unmarshal(quoted, &n[len(n)-1])
}

// object is one that a request refers to, and until when it is of use.
type object struct {
	*jetstream.ObjectInfo
	until time.Time
}

// writeURL writes where Kling gets an object from, and reports whether it has: an image is sent instead.
func (in *Attachments) writeURL(
	ctx context.Context, out *bytes.Buffer, o object, fault func(format string, args ...any) error,
) (written bool, err error) {
	image, err := in.isImage(ctx, o.ObjectInfo)
	if image || err != nil {
		return false, err
	}
	url := ""
	if in.URL != nil {
		url = in.URL(o.Bucket, o.Name, o.until)
	}
	if url == "" {
		return false, fault("Kling takes what is no image by URL only, and there is none without BRIDGE_PUBLIC_URL")
	}
	out.WriteString(url) // its characters need no escape
	return true, nil
}

// isImage tells whether an object is an image: by what its uploader says, or else by its first bytes. Only its first chunk is
// read, for a video may be large.
func (in *Attachments) isImage(ctx context.Context, info *jetstream.ObjectInfo) (bool, error) {
	told := info.Metadata["content-type"]
	if values := info.Headers[events.HeaderContentType]; len(values) > 0 && values[0] != "" {
		told = values[0]
	}
	if (told == "" || strings.HasPrefix(told, "application/octet-stream")) && info.Size > 0 {
		stream, err := in.js.Stream(ctx, "OBJ_"+info.Bucket)
		if err != nil {
			return false, err
		}
		first, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject("$O."+info.Bucket+".C."+info.NUID))
		if err != nil {
			return false, fmt.Errorf("object %s of bucket %s: %w", info.Name, info.Bucket, err)
		}
		told = http.DetectContentType(first.Data)
	}
	return strings.HasPrefix(told, "image/"), nil
}
