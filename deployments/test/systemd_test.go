package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/config"
)

// TestUnit has systemd look for mistakes and judge the hardening, from 0 (best) to 100.
func TestUnit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("systemd-analyze is not installed: run .ci/setup")
	}
	raw, err := os.ReadFile("../systemd/klingbridge.service")
	if err != nil {
		t.Fatal(err)
	}
	// The program that a unit starts has to exist.
	unit := filepath.Join(t.TempDir(), "klingbridge.service")
	text := strings.Replace(string(raw), "/usr/local/bin/klingbridge", "/bin/true", 1)
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", unit}, {"security", "--offline=true", "--threshold=20", unit}} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
		if err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}

// TestUnitCanNotify holds two lines together: without that family systemd waits in vain for READY=1, and kills what works.
func TestUnitCanNotify(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../systemd/klingbridge.service")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Type=notify$`).Match(raw) || !regexp.MustCompile(`(?m)^RestrictAddressFamilies=.*\bAF_UNIX\b`).Match(raw) {
		t.Error("the unit is not of Type=notify, or may not use the socket on which it has to notify")
	}
}

func TestUnitVariables(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../systemd/klingbridge.env")
	if err != nil {
		t.Fatal(err)
	}
	known := config.Variables()
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=`).FindAllStringSubmatch(string(raw), -1) {
		if !slices.ContainsFunc(known, func(v config.Variable) bool { return v.Name == m[1] }) {
			t.Errorf("%s is no variable", m[1])
		}
	}
}
