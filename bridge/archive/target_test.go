package archive_test

import (
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/archive"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"nats://results", "nats://kling_Results-1/", "file:///var/lib/results", "file:///a%20b/",
		"s3://results", "s3://my.results/", "s3://results/some/prefix?region=eu-central-1",
		"s3://results/p?endpoint=https://account.r2.cloudflarestorage.com&region=auto",
		"s3://results?endpoint=http://minio:9000", "s3://results?endpoint=https%3A%2F%2Fstorage.googleapis.com",
	} {
		target, err := archive.ParseTarget(raw)
		if err != nil || !(archive.Options{Target: target}).Enabled() {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestParseTargetFaults(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][]string{
		"results":                              {"unknown kind"},
		"https://results":                      {"unknown kind"},
		"://":                                  {"not a URL"},
		"nats://":                              {"want nats://<bucket>"},
		"nats://host:4222/bucket?x=1":          {"want nats://<bucket>", "query"},
		"file://results/dir":                   {"want file:///<dir>"},
		"file:///":                             {"want file:///<dir>"},
		"file:results":                         {"want file:///<dir>"},
		"s3://key:hunter2@results":             {"must not hold a user"},
		"s3://Results/a/../b":                  {"bucket's name", "the prefix"},
		"s3://results/a//b#c":                  {"the prefix", "fragment"},
		"s3://results/a b":                     {"the prefix"},
		"s3://results?regoin=x&region=!":       {`"regoin"`, "the region"},
		"s3://results?region=a&region=b":       {`"region"`},
		"s3://results?endpoint=minio:9000&x=1": {"the endpoint", `"x"`},
		"s3://results?endpoint=http://k:hunter2@host": {"the endpoint"},
		"s3://results?endpoint=http://host/path":      {"the endpoint"},
	} {
		_, err := archive.ParseTarget(raw)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", raw, err)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q is not in %v", raw, part, err)
			}
		}
	}
}
