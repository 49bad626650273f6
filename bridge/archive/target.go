package archive

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Target is where files go.
type Target struct {
	scheme   string
	bucket   string // of nats and s3
	prefix   string // of s3: leads every name, without slashes at its ends
	dir      string // of file
	region   string // of s3; empty: AWS_REGION, AWS_DEFAULT_REGION or us-east-1
	endpoint string // of s3: host and port; empty: Amazon's
	insecure bool   // the endpoint speaks plain http
}

var (
	natsBucket = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	s3Bucket   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	s3Prefix   = regexp.MustCompile(`^[A-Za-z0-9!_.*'()/=-]*$`)
	s3Region   = regexp.MustCompile(`^[A-Za-z0-9-]*$`)
)

// ParseTarget reads nats://<bucket>, s3://<bucket>/<prefix>?region=…&endpoint=… or file:///<dir>. The error names
// everything that is wrong and shows no URL that may hold a secret.
func ParseTarget(raw string) (Target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Target{}, errors.New("is not a URL (want nats://bucket, s3://bucket/prefix or file:///dir)")
	}
	t := Target{scheme: u.Scheme}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	checkParts(u, fault)
	switch u.Scheme {
	case "nats":
		t.bucket = u.Host
		if !natsBucket.MatchString(t.bucket) || strings.Trim(u.Path, "/") != "" {
			fault("want nats://<bucket>, the name of letters, digits, _ and - (the server is that of NATS_URL)")
		}
	case "s3":
		t.readS3(u, fault)
	case "file":
		t.dir = path.Clean(u.Path)
		if u.Host != "" || !path.IsAbs(u.Path) || t.dir == "/" {
			fault("want file:///<dir>, an absolute path that is not the root")
		}
	default:
		fault("is of an unknown kind (want nats://bucket, s3://bucket/prefix or file:///dir)")
	}
	if len(faults) > 0 {
		return Target{}, errors.Join(faults...)
	}
	return t, nil
}

// checkParts finds what no target has.
func checkParts(u *url.URL, fault func(format string, args ...any)) {
	if u.User != nil {
		fault("must not hold a user or password (s3 takes the usual AWS variables)")
	}
	if u.Fragment != "" {
		fault("has a fragment")
	}
	if u.RawQuery != "" && u.Scheme != "s3" {
		fault("has a query, which only s3 takes")
	}
}

func (t *Target) readS3(u *url.URL, fault func(string, ...any)) {
	t.bucket, t.prefix = u.Host, strings.Trim(u.Path, "/")
	if !s3Bucket.MatchString(t.bucket) {
		fault("the bucket's name is not 3 to 63 lower-case letters, digits, dots and -")
	}
	if !s3Prefix.MatchString(t.prefix) || path.Clean("/"+t.prefix) != "/"+t.prefix {
		fault("the prefix has parts that are empty, dots, or more than letters, digits and !_.*'()=-")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		fault("the query can't be read")
	}
	for name, values := range query {
		if !slices.Contains([]string{"region", "endpoint"}, name) || len(values) != 1 {
			fault("the query holds %q (want region and endpoint, once each)", name)
		}
	}
	if t.region = query.Get("region"); !s3Region.MatchString(t.region) {
		fault("the region is not made of letters, digits and -")
	}
	if endpoint := query.Get("endpoint"); endpoint != "" {
		t.readEndpoint(endpoint, fault)
	}
}

func (t *Target) readEndpoint(raw string, fault func(string, ...any)) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		fault("the endpoint is not https://host or http://host, with a port or without")
		return
	}
	t.endpoint, t.insecure = u.Host, u.Scheme == "http"
}

func (o Options) open(js jetstream.JetStream) (store, error) {
	t := o.Target
	switch t.scheme {
	case "nats":
		return natsStore{js: js, bucket: t.bucket, replicas: max(o.Replicas, 1), maxBytes: o.BucketBytes}, nil
	case "s3":
		return newS3Store(t)
	default:
		return fileStore{dir: t.dir}, nil
	}
}
