package archive

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"path"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	amazonS3 = "s3.amazonaws.com"
	// partSize is what one upload has in memory, and the least that S3 takes: 2 GiB are 410 parts of 10,000.
	partSize = 5 << 20
	// s3Retries of one call. Beyond that the whole file is tried again, later.
	s3Retries = 3
)

// s3Store keeps files in a bucket of Amazon S3 or what speaks its protocol. The bucket has to be there.
type s3Store struct {
	client    *minio.Client
	transport *http.Transport
	bucket    string
	prefix    string
}

// newS3Store takes credentials where Amazon's own tools do: the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
// AWS_SESSION_TOKEN, the profile AWS_PROFILE of ~/.aws, a web identity, or the machine's or container's role.
func newS3Store(t Target) (*s3Store, error) {
	transport, err := minio.DefaultTransport(!t.insecure)
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupAuto
	if t.endpoint != "" { // a name for each bucket is Amazon's way
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(cmp.Or(t.endpoint, amazonS3), &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		}),
		Secure:       !t.insecure,
		Transport:    transport,
		Region:       cmp.Or(t.region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1"),
		BucketLookup: lookup,
		MaxRetries:   s3Retries,
	})
	if err != nil {
		return nil, err
	}
	return &s3Store{client: client, transport: transport, bucket: t.bucket, prefix: t.prefix}, nil
}

// put uploads in parts, unless the file is known to be small. A file of unknown size is uploaded in parts as well. An
// upload that fails is aborted; one that a killed process leaves behind shows nowhere, and is the business of the
// bucket's lifecycle rules.
func (s *s3Store) put(ctx context.Context, name string, f *download) (string, error) {
	key := path.Join(s.prefix, name)
	_, err := s.client.PutObject(ctx, s.bucket, key, f, f.size, minio.PutObjectOptions{
		ContentType: f.contentType, PartSize: partSize,
	})
	if err != nil {
		return "", err
	}
	return "s3://" + s.bucket + "/" + key, nil
}

func (s *s3Store) close() { s.transport.CloseIdleConnections() }
