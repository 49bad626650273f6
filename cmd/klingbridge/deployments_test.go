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
