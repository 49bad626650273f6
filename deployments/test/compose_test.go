package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/klingbridge/klingbridge/config"
)

// cluster is what deployments/.env has to hold.
var clusterEnviron = []string{
	"KLING_API_KEY=api-key-kling-x", "BRIDGE_HOST=bridge.example.com", "NATS_ROUTE_PASSWORD=p", "NATS_SYSTEM_PASSWORD=p",
	"NATS_BRIDGE_PASSWORD=p", "NATS_ADMIN_PASSWORD=p", "NATS_REQUESTER_PASSWORD=p", "NATS_APPS_ADMIN_PASSWORD=p",
	"NATS_SUBSCRIBER_PASSWORD=p", "NATS_READERS_ADMIN_PASSWORD=p", "NATS_OPERATOR_PASSWORD=p",
}

// load reads compose files of deployments as Docker Compose does: against its schema, merged, with variables filled in.
func load(t *testing.T, environ []string, files ...string) (*types.Project, error) {
	t.Helper()
	var paths []string
	for _, file := range files {
		paths = append(paths, filepath.Join("..", file))
	}
	o, err := cli.NewProjectOptions(paths, cli.WithEnv(environ), cli.WithName("test"), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	return o.LoadProject(context.WithoutCancel(t.Context()))
}

func mustLoad(t *testing.T, environ []string, files ...string) *types.Project {
	t.Helper()
	p, err := load(t, environ, files...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCompose(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]string{
		"one":                   {"compose.yaml"},
		"one, observed":         {"compose.yaml", "compose.observability.yaml"},
		"the cluster":           {"compose.cluster.yaml"},
		"the cluster, observed": {"compose.cluster.yaml", "compose.observability.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := mustLoad(t, clusterEnviron, files...)
			for _, s := range p.Services {
				checkMounts(t, s)
				if s.Image == "klingbridge" {
					checkVariables(t, s)
				}
			}
		})
	}
}

// checkMounts wants every mounted file to exist: Docker would make a directory of its name.
func checkMounts(t *testing.T, s types.ServiceConfig) {
	t.Helper()
	for _, v := range s.Volumes {
		if v.Type != types.VolumeTypeBind {
			continue
		}
		if _, err := os.Stat(v.Source); err != nil {
			t.Errorf("service %s: %v", s.Name, err)
		}
	}
}

func checkVariables(t *testing.T, s types.ServiceConfig) {
	t.Helper()
	environ := map[string]string{}
	for name, value := range s.Environment {
		if value != nil {
			environ[name] = *value
		}
	}
	c, err := config.Load(environ)
	if err != nil || len(c.Unknown) > 0 {
		t.Errorf("service %s: %v, unknown: %v", s.Name, err, c.Unknown)
	}
}

func TestComposeClusterNeedsItsPasswords(t *testing.T) {
	t.Parallel()
	for i, variable := range clusterEnviron {
		name, _, _ := strings.Cut(variable, "=")
		rest := slices.Delete(slices.Clone(clusterEnviron), i, i+1)
		if _, err := load(t, rest, "compose.cluster.yaml"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestComposeClusterHoldsTogether compares names that stand in several files.
func TestComposeClusterHoldsTogether(t *testing.T) {
	t.Parallel()
	p := mustLoad(t, clusterEnviron, "compose.cluster.yaml")
	raw, err := os.ReadFile("../nats/cluster.conf")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"nats-0", "nats-1", "nats-2"}
	for _, name := range names {
		s, err := p.GetService(name)
		if err != nil {
			t.Fatal(err)
		}
		if own := s.Environment["NATS_SERVER_NAME"]; own == nil || *own != name {
			t.Errorf("%s is not called so", name)
		}
		for i, other := range names {
			variable := fmt.Sprintf("NATS_ROUTE_%d", i)
			route := s.Environment[variable]
			if want := "nats://route:p@" + other + ":6222"; route == nil || *route != want || !strings.Contains(string(raw), "$"+variable) {
				t.Errorf("%s has no route to %s", name, other)
			}
		}
	}
}
