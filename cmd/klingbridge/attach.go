package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/klingbridge/klingbridge/events"
)

var bucketName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// attachment is a file that travels to the bridge in a bucket. The body has a reference in its place.
type attachment struct {
	field, file  string
	bucket, name string
}

// parseAttachments reads --attach field=file, and gives each file a name that nobody else has.
func parseAttachments(list []string, bucket string) ([]attachment, error) {
	if !bucketName.MatchString(bucket) {
		return nil, usagef("--attach-bucket %q is not made of letters, digits, _ and -", bucket)
	}
	var all []attachment
	for _, item := range list {
		field, file, ok := strings.Cut(item, "=")
		if !ok || field == "" || file == "" {
			return nil, usagef("--attach %q is not field=file", item)
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil, usagef("attach: %w", err)
		}
		if !info.Mode().IsRegular() {
			return nil, usagef("attach %s: not a file", file)
		}
		all = append(all, attachment{field: field, file: file, bucket: bucket, name: rand.Text()})
	}
	return all, nil
}

func (a attachment) ref() string { return events.ObjectRef(a.bucket, a.name) }

// upload puts the files into their bucket and says so.
func (p *program) upload(ctx context.Context, client *events.Client, attachments []attachment, maxBytes int64) error {
	for _, a := range attachments {
		var size int64
		err := p.patiently("waiting for NATS to take "+a.file, func() (err error) {
			size, err = a.upload(ctx, client, maxBytes)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", a.file, err)
		}
		fmt.Fprintf(p.stderr, "attached %s (%s) as %s\n", printable(a.file), formatSize(size), a.ref())
	}
	return nil
}

func (a attachment) upload(ctx context.Context, client *events.Client, maxBytes int64) (size int64, err error) {
	file, err := os.Open(a.file)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	counted := &counter{r: file}
	to := events.Attachment{
		Name: a.name, ContentType: events.MediaType(a.file), Bucket: a.bucket, BucketMaxBytes: maxBytes,
	}
	_, err = client.Attach(ctx, to, counted)
	return counted.n, err
}

// counter counts what is read. It goes back as its reader does.
type counter struct {
	r io.ReadSeeker
	n int64
}

// Seek implements [io.Seeker].
func (c *counter) Seek(offset int64, whence int) (int64, error) {
	at, err := c.r.Seek(offset, whence)
	c.n = at
	return at, err
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
