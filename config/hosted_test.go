package config_test

import (
	"errors"
	"testing"

	"github.com/klingbridge/klingbridge/config"
)

func TestHostedNATSFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ map[string]string
		want    string
	}{
		"domain of two tokens":     {map[string]string{"NATS_JS_DOMAIN": "a.b"}, "NATS_JS_DOMAIN"},
		"prefix with a wildcard":   {map[string]string{"NATS_URL": "n", "NATS_JS_API_PREFIX": "$JS.>"}, "NATS_JS_API_PREFIX"},
		"domain and prefix":        {map[string]string{"NATS_URL": "n", "NATS_JS_API_PREFIX": "$JS.x.API", "NATS_JS_DOMAIN": "x"}, "NATS_JS_API_PREFIX"},
		"prefix of the embedded":   {map[string]string{"NATS_JS_API_PREFIX": "$JS.x.API"}, "NATS_JS_API_PREFIX"},
		"inbox with a last dot":    {map[string]string{"NATS_INBOX_PREFIX": "_INBOX_a."}, "NATS_INBOX_PREFIX"},
		"TLS first, not a boolean": {map[string]string{"NATS_URL": "n", "NATS_TLS_FIRST": "perhaps"}, "NATS_TLS_FIRST"},
		"TLS of the embedded":      {map[string]string{"NATS_TLS_FIRST": "true"}, "NATS_TLS_FIRST"},
	} {
		_, err := config.Load(test.environ)
		faults, _ := errors.AsType[config.Faults](err)
		if len(faults) != 1 || faults[0].Variable != test.want {
			t.Errorf("%s: faults %v, want one of %s", name, err, test.want)
		}
	}
	if _, err := config.Load(map[string]string{
		"NATS_URL": "n", "NATS_JS_API_PREFIX": "$JS.x.API.", "NATS_TLS_FIRST": "true", "NATS_INBOX_PREFIX": "_INBOX_a.b",
	}); err != nil {
		t.Error(err)
	}
}
