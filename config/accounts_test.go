package config_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/config"
)

func TestAccounts(t *testing.T) {
	t.Parallel()
	c, err := config.Load(map[string]string{
		"KLING_ACCOUNTS": "main, burst-2", "KLING_BASE_URL": "https://kling.example.com", "KLING_API_KEY": "plain",
		"KLING_ACCOUNT_MAIN_API_KEY": " key\n", "KLING_ACCOUNT_MAIN_WEBHOOK_SECRET": "whsec_b25l,whsec_dHdv",
		"KLING_ACCOUNT_BURST_2_ACCESS_KEY": "ak", "KLING_ACCOUNT_BURST_2_SECRET_KEY": "sk\n", "KLING_ACCOUNT_BURST_2_API_KEY": " ",
		"KLING_ACCOUNT_BURST_2_BASE_URL": "http://127.0.0.1:8090", "KLING_ACCOUNT_BURST_2_CONCURRENCY": "video=8,image=2",
		"BRIDGE_ACCOUNT_ORDER": "spread", "KLING_ACCOUNT_OTHER_API_KEY": "x", "KLING_ACCOUNT_MAIN_KEY": "y",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Account{
		{Name: "main", APIKey: "key", WebhookSecret: config.Secrets{"whsec_b25l", "whsec_dHdv"}, BaseURL: "https://kling.example.com"},
		{Name: "burst-2", AccessKey: "ak", SecretKey: "sk", BaseURL: "http://127.0.0.1:8090",
			Concurrency: config.Concurrency{"video": 8, "image": 2}},
	}
	if diff := cmp.Diff(want, c.Accounts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if faults := c.RequireKling(); len(faults) > 0 {
		t.Errorf("credentials: %v", faults)
	}
	if c.AccountOrder != "spread" {
		t.Errorf("order %q", c.AccountOrder)
	}
	if want := []string{"KLING_ACCOUNT_MAIN_KEY", "KLING_ACCOUNT_OTHER_API_KEY"}; !slices.Equal(c.Unknown, want) {
		t.Errorf("unknown: %v, want %v", c.Unknown, want)
	}
	if want := []string{"KLING_API_KEY"}; !slices.Equal(c.Unused, want) {
		t.Errorf("unused: %v, want %v", c.Unused, want)
	}
	for _, shown := range []string{fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c.Accounts())} {
		if strings.Contains(shown, `"key"`) || strings.Contains(shown, "whsec_") {
			t.Errorf("a secret shows: %s", shown)
		}
	}
}

func TestOneAccount(t *testing.T) {
	t.Parallel()
	c, err := config.Load(map[string]string{"KLING_API_KEY": "key", "KLING_WEBHOOK_SECRET": "whsec_b25l"})
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Account{{APIKey: "key", WebhookSecret: config.Secrets{"whsec_b25l"}, BaseURL: c.KlingBaseURL}}
	if diff := cmp.Diff(want, c.Accounts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWrongAccounts has everything told at once, by its variable.
func TestWrongAccounts(t *testing.T) {
	t.Parallel()
	for environ, want := range map[string][]string{
		"KLING_ACCOUNTS=Main": {"KLING_ACCOUNTS"}, "KLING_ACCOUNTS=main,": {"KLING_ACCOUNTS"}, "KLING_ACCOUNTS=a,b,a": {"KLING_ACCOUNTS"},
		"KLING_ACCOUNTS=seventeen-letters":              {"KLING_ACCOUNTS"},
		"KLING_ACCOUNTS=a,b":                            {"KLING_ACCOUNT_A_API_KEY", "KLING_ACCOUNT_B_API_KEY"},
		"KLING_ACCOUNTS=a KLING_ACCOUNT_A_ACCESS_KEY=x": {"KLING_ACCOUNT_A_SECRET_KEY"},
		"KLING_ACCOUNTS=a KLING_ACCOUNT_A_API_KEY=x KLING_ACCOUNT_A_BASE_URL=http://example.com KLING_ACCOUNT_A_CONCURRENCY=video " +
			"KLING_ACCOUNT_A_WEBHOOK_SECRET=secret": {
			"KLING_ACCOUNT_A_BASE_URL", "KLING_ACCOUNT_A_CONCURRENCY", "KLING_ACCOUNT_A_WEBHOOK_SECRET",
		},
		"KLING_ACCOUNTS=a KLING_ACCOUNT_A_API_KEY=x KLING_WEBHOOK_SECRET=whsec_b25l": {"KLING_WEBHOOK_SECRET"},
		"BRIDGE_ACCOUNT_ORDER=random KLING_API_KEY=x":                                {"BRIDGE_ACCOUNT_ORDER"},
	} {
		variables := map[string]string{}
		for _, pair := range strings.Fields(environ) {
			name, value, _ := strings.Cut(pair, "=")
			variables[name] = value
		}
		c, err := config.Load(variables)
		faults, _ := errors.AsType[config.Faults](err)
		if err == nil {
			faults = c.RequireKling()
		}
		var got []string
		for _, f := range faults {
			got = append(got, f.Variable)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", environ, got, want)
		}
	}
}
