package bridge_test

import (
	"bytes"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// versitygw takes minutes to build, so the tests run against a server in their process unless they are given one.
var versitygw = flag.String("archive.versitygw", "", "run the S3 tests against this versitygw binary (see make s3-test)")

const (
	s3Key    = "test-access-key"
	s3Secret = "test-secret-key"
)

// s3 is an S3 server with a bucket "results".
type s3 struct {
	url    string
	client *minio.Client
}

// startS3 runs a server until the test ends and sets the usual variables to its credentials.
func startS3(t *testing.T) *s3 {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", s3Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3Secret)
	s := &s3{}
	if *versitygw != "" {
		s.url = startVersitygw(t)
	} else {
		server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
		t.Cleanup(server.Close)
		s.url = server.URL
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	var err error
	s.client, err = minio.New(strings.TrimPrefix(s.url, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(s3Key, s3Secret, ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath,
		Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.client.MakeBucket(t.Context(), "results", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func startVersitygw(t *testing.T) (url string) {
	t.Helper()
	l := listenLocal(t)
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(*versitygw, "--port", addr, "--access", s3Key, "--secret", s3Secret, "--region", "us-east-1",
		"posix", t.TempDir())
	cmd.Env, cmd.Stdout, cmd.Stderr = os.Environ(), &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // one that has ended can't be killed
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("versitygw: %s", &log)
		}
	})
	(&world{t: t}).eventually("versitygw answers", func() bool {
		status, _ := get(t, "http://"+addr)
		return status != 0
	})
	return "http://" + addr
}

func (s *s3) get(t *testing.T, key string) []byte {
	t.Helper()
	object, err := s.client.GetObject(t.Context(), "results", key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = object.Close() }()
	data, err := io.ReadAll(object)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return data
}

func (s *s3) list(t *testing.T, prefix string) []string {
	t.Helper()
	var keys []string
	for object := range s.client.ListObjects(t.Context(), "results", minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			t.Fatal(object.Err)
		}
		keys = append(keys, object.Key)
	}
	return keys
}
