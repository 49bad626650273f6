package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"gopkg.in/yaml.v3"

	"github.com/klingbridge/klingbridge/config"
)

// composeFile is as much of a compose file as the tests look at.
type composeFile struct {
	Services map[string]struct {
		Image       string            `yaml:"image"`
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Entrypoint  []string          `yaml:"entrypoint"`
		NetworkMode string            `yaml:"network_mode"`
		Volumes     []string          `yaml:"volumes"`
	} `yaml:"services"`
	Configs map[string]struct {
		Content string `yaml:"content"`
	} `yaml:"configs"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	raw, err := os.ReadFile("../../deployments/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c composeFile
	if err := yaml.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestComposeUsesOnlyKnownVariables(t *testing.T) {
	t.Parallel()
	var known []string
	for _, v := range config.Variables() {
		known = append(known, v.Name)
	}
	for name, service := range readCompose(t).Services {
		if service.Image != "klingbridge" {
			continue
		}
		for variable := range service.Environment {
			if !slices.Contains(known, variable) && !strings.HasPrefix(variable, "OTEL_") {
				t.Errorf("service %s sets %s, which is no variable", name, variable)
			}
		}
		c, err := config.Load(service.Environment)
		if err != nil {
			t.Errorf("service %s: %v", name, err)
		}
		if name == "bridge" && len(c.RequireKling()) > 0 {
			t.Errorf("service %s: %v", name, c.RequireKling())
		}
	}
}

// TestComposeSharesANetworkThatStays has the programs that share one in the network of a service that runs neither: that
// of a container which crashes is gone for the other, for good.
func TestComposeSharesANetworkThatStays(t *testing.T) {
	t.Parallel()
	services := readCompose(t).Services
	sharing := 0
	for name, service := range services {
		holder, shares := strings.CutPrefix(service.NetworkMode, "service:")
		if !shares {
			continue
		}
		sharing++
		if holds := services[holder]; holds.Image == "klingbridge" || !slices.Equal(holds.Entrypoint, []string{"sleep", "infinity"}) {
			t.Errorf("service %s is in the network of %s, which runs %s %q", name, holder, holds.Image, holds.Entrypoint)
		}
	}
	if sharing != 2 {
		t.Errorf("%d services share a network, want the bridge and the simulated Kling", sharing)
	}
}

// TestPrometheusLoadsRulesOnly reads the files that the observability compose file shows to Prometheus: it does not start
// with one among its rules that is none, such as the alerts' own tests.
func TestPrometheusLoadsRulesOnly(t *testing.T) {
	t.Parallel()
	var compose composeFile
	var prometheus struct {
		RuleFiles []string `yaml:"rule_files"`
	}
	for file, into := range map[string]any{
		"../../deployments/compose.observability.yaml": &compose, "../../deployments/observability/prometheus.yaml": &prometheus,
	} {
		if err := yaml.Unmarshal([]byte(readText(t, file)), into); err != nil {
			t.Fatal(err)
		}
	}
	var shown []string
	for _, volume := range compose.Services["prometheus"].Volumes {
		source, target, _ := strings.Cut(strings.TrimSuffix(volume, ":ro"), ":")
		if !strings.HasPrefix(source, "./") {
			continue
		}
		below, err := filepath.Glob(filepath.Join("../../deployments", source, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range append(below, filepath.Join("../../deployments", source)) {
			inside := target + strings.TrimPrefix(file, filepath.Join("../../deployments", source))
			for _, pattern := range prometheus.RuleFiles {
				if ok, _ := filepath.Match(pattern, inside); ok {
					shown = append(shown, filepath.Base(file))
				}
			}
		}
	}
	if want := []string{"alerts.yaml"}; !slices.Equal(shown, want) {
		t.Errorf("Prometheus takes %q for rules, want %q", shown, want)
	}
}

func TestComposeRunsCommandsThatExist(t *testing.T) {
	t.Parallel()
	for name, service := range readCompose(t).Services {
		if service.Image != "klingbridge" {
			continue
		}
		root := newProgram(nil, nil, nil, nil).rootCommand()
		cmd, args, err := root.Find(service.Command)
		if err != nil {
			t.Errorf("service %s: %v", name, err)
			continue
		}
		if err := cmd.ParseFlags(args); err != nil {
			t.Errorf("service %s: %v", name, err)
		}
	}
}

func TestComposeConfiguresNATS(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(readCompose(t).Configs["nats"].Content), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !options.JetStream || !options.SyncAlways || options.StoreDir != "/data" {
		t.Errorf("JetStream %t, synced %t, store %s", options.JetStream, options.SyncAlways, options.StoreDir)
	}
}
