package test

import (
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/klingbridge/klingbridge/config"
)

const chartDir = "../kubernetes/klingbridge"

// objects are what the chart makes, one of each kind except services.
type objects struct {
	deployment apps.Deployment
	services   []core.Service
	account    core.ServiceAccount
	ingress    *networking.Ingress
	policy     *networking.NetworkPolicy
	budget     *policy.PodDisruptionBudget
	scaler     *autoscaling.HorizontalPodAutoscaler
	monitor    *monitoring.ServiceMonitor
}

// manifest is one object as the chart writes it.
type manifest struct{ file, text string }

// manifests renders the chart with these values, given as YAML.
func manifests(t *testing.T, values string) ([]manifest, error) {
	t.Helper()
	chart, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	release := chartutil.ReleaseOptions{Name: "prod", Namespace: "video", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, given, release, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	var out []manifest
	for name, text := range files {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		for document := range strings.SplitSeq(text, "\n---\n") {
			if strings.TrimSpace(document) != "" {
				out = append(out, manifest{name, document})
			}
		}
	}
	return out, nil
}

// render renders the chart and decodes what it makes.
func render(t *testing.T, values string) (objects, error) {
	t.Helper()
	var o objects
	made, err := manifests(t, values)
	for _, m := range made {
		o.add(t, m.file, []byte(m.text))
	}
	return o, err
}

func mustRender(t *testing.T, values string) objects {
	t.Helper()
	o, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// add decodes one object into its type: a field that its API does not have is an error.
func (o *objects) add(t *testing.T, name string, document []byte) {
	t.Helper()
	var what meta.TypeMeta
	if err := yaml.Unmarshal(document, &what); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, document)
	}
	var into any
	switch what.APIVersion + " " + what.Kind {
	case "apps/v1 Deployment":
		into = &o.deployment
	case "v1 Service":
		o.services = append(o.services, core.Service{})
		into = &o.services[len(o.services)-1]
	case "v1 ServiceAccount":
		into = &o.account
	case "networking.k8s.io/v1 Ingress":
		o.ingress = new(networking.Ingress)
		into = o.ingress
	case "networking.k8s.io/v1 NetworkPolicy":
		o.policy = new(networking.NetworkPolicy)
		into = o.policy
	case "policy/v1 PodDisruptionBudget":
		o.budget = new(policy.PodDisruptionBudget)
		into = o.budget
	case "autoscaling/v2 HorizontalPodAutoscaler":
		o.scaler = new(autoscaling.HorizontalPodAutoscaler)
		into = o.scaler
	case "monitoring.coreos.com/v1 ServiceMonitor":
		o.monitor = new(monitoring.ServiceMonitor)
		into = o.monitor
	default:
		t.Fatalf("%s makes a %s %s", name, what.APIVersion, what.Kind)
	}
	if err := yaml.UnmarshalStrict(document, into); err != nil {
		t.Errorf("%s: %v\n%s", name, err, document)
	}
}

const (
	least = `
kling: {existingSecret: kling}
nats: {url: "nats://nats:4222"}
`
	most = `
image: {digest: "sha256:0123"}
imagePullSecrets: [{name: registry}]
kling: {existingSecret: kling}
nats:
  url: "nats://nats-0.nats:4222,nats://nats-1.nats:4222"
  existingSecret: nats
  credsKey: bridge.creds
  tlsSecret: nats-tls
  clientCertificate: true
  streamReplicas: 3
publicURL: https://bridge.example.com
callbackSecret: callbacks
config: {BRIDGE_CONCURRENCY: "video=20,image=9", OTEL_EXPORTER_OTLP_ENDPOINT: "http://otel:4318"}
extraEnv: [{name: OTEL_RESOURCE_ATTRIBUTES, value: "deployment.environment=prod"}]
ingress: {enabled: true, className: nginx, tlsSecret: bridge-tls, annotations: {cert-manager.io/cluster-issuer: letsencrypt}}
autoscaling: {enabled: true}
networkPolicy:
  callbacksFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}}]
  adminFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
  extraEgress: [{ports: [{port: 4318}]}]
serviceMonitor: {enabled: true, labels: {release: prometheus}}
podAnnotations: {team: video}
podLabels: {team: video}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{operator: Exists}]
affinity: {nodeAffinity: {}}
priorityClassName: high
`
)

func TestChartLint(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]string{"least": least, "most": most} {
		given, err := chartutil.ReadValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range lint.All(chartDir, given, "video", true).Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %s", name, m)
			}
		}
	}
}

// TestChartVariables holds the variables to what the program accepts.
func TestChartVariables(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]string{"least": least, "most": most} {
		environ := map[string]string{}
		for _, v := range mustRender(t, values).deployment.Spec.Template.Spec.Containers[0].Env {
			if _, twice := environ[v.Name]; twice {
				t.Errorf("%s: %s is set twice", name, v.Name)
			}
			environ[v.Name] = v.Value
			if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
				environ[v.Name] = "from-a-secret"
			}
		}
		// What is mounted is not here, and a key of the older API goes without the newer.
		for _, v := range []string{"NATS_CREDS", "NATS_CA", "NATS_CERT", "NATS_KEY", "KLING_WEBHOOK_SECRET"} {
			delete(environ, v)
		}
		c, err := config.Load(environ)
		if err != nil || len(c.Unknown) > 0 || len(c.RequireKling()) > 0 {
			t.Errorf("%s: %v, unknown: %v, %v", name, err, c.Unknown, c.RequireKling())
		}
	}
}

func TestChartIsLockedDown(t *testing.T) {
	t.Parallel()
	o := mustRender(t, least)
	pod := o.deployment.Spec.Template.Spec
	yes, no := true, false
	want := core.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities: &core.Capabilities{Drop: []core.Capability{"ALL"}},
	}
	if diff := cmp.Diff(want, *pod.Containers[0].SecurityContext); diff != "" {
		t.Error(diff)
	}
	if s := pod.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser == 0 || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod's security context is %+v", s)
	}
	if *pod.AutomountServiceAccountToken || *o.account.AutomountServiceAccountToken {
		t.Error("a token is mounted")
	}
	if len(o.policy.Spec.Ingress) != 1 {
		t.Errorf("somebody may reach the admin port: %+v", o.policy.Spec.Ingress)
	}
	for _, v := range pod.Containers[0].Env {
		secret := slices.ContainsFunc([]string{"_SECRET", "_KEY", "PASSWORD", "TOKEN"}, func(end string) bool { return strings.HasSuffix(v.Name, end) })
		if secret && v.Value != "" {
			t.Errorf("%s is in plain sight", v.Name)
		}
	}
}

// TestChartPartsMeet checks that labels select, ports are named and secrets are mounted where the variables say.
func TestChartPartsMeet(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]string{"least": least, "most": most} {
		o := mustRender(t, values)
		template := o.deployment.Spec.Template
		pod := template.Spec
		selectors := []map[string]string{
			o.deployment.Spec.Selector.MatchLabels, o.policy.Spec.PodSelector.MatchLabels, o.budget.Spec.Selector.MatchLabels,
		}
		for _, c := range pod.TopologySpreadConstraints {
			selectors = append(selectors, c.LabelSelector.MatchLabels)
		}
		for _, s := range o.services {
			selectors = append(selectors, s.Spec.Selector)
			if !hasPort(pod.Containers[0], s.Spec.Ports[0].TargetPort.StrVal) {
				t.Errorf("%s: service %s leads to no port", name, s.Name)
			}
		}
		for _, s := range selectors {
			if len(s) == 0 || !includes(template.Labels, s) {
				t.Errorf("%s: %v does not select %v", name, s, template.Labels)
			}
		}
		if pod.ServiceAccountName != o.account.Name {
			t.Errorf("%s: no service account %s", name, pod.ServiceAccountName)
		}
		for _, p := range []*core.Probe{pod.Containers[0].StartupProbe, pod.Containers[0].ReadinessProbe, pod.Containers[0].LivenessProbe} {
			if !hasPort(pod.Containers[0], p.HTTPGet.Port.StrVal) {
				t.Errorf("%s: probe of no port: %v", name, p.HTTPGet)
			}
		}
		volumes, mounts := map[string]bool{}, map[string]bool{}
		for _, v := range pod.Volumes {
			volumes[v.Name] = true
		}
		for _, m := range pod.Containers[0].VolumeMounts {
			mounts[m.Name] = true
		}
		if !reflect.DeepEqual(volumes, mounts) {
			t.Errorf("%s: volumes %v, mounts %v", name, volumes, mounts)
		}
	}
}

func TestChartOptions(t *testing.T) {
	t.Parallel()
	few, all := mustRender(t, least), mustRender(t, most)
	if few.ingress != nil || few.scaler != nil || few.monitor != nil || len(few.services) != 1 {
		t.Error("the least values make more than they should")
	}
	if *few.deployment.Spec.Replicas != 3 || all.deployment.Spec.Replicas != nil {
		t.Error("replicas are set beside an autoscaler, or not without")
	}
	if name := all.scaler.Spec.ScaleTargetRef.Name; name != all.deployment.Name {
		t.Errorf("the autoscaler scales %s", name)
	}
	if rule := all.ingress.Spec.Rules[0]; rule.Host != "bridge.example.com" || len(rule.HTTP.Paths) != 2 ||
		rule.HTTP.Paths[0].Path != "/callbacks/" || rule.HTTP.Paths[1].Path != "/files/" {
		t.Errorf("the ingress takes %s%v", rule.Host, rule.HTTP.Paths)
	}
	admin := slices.IndexFunc(all.services, func(s core.Service) bool { return s.Spec.ClusterIP == core.ClusterIPNone })
	if admin < 0 || !includes(all.services[admin].Labels, all.monitor.Spec.Selector.MatchLabels) {
		t.Errorf("the monitor finds no service: %v", all.monitor.Spec.Selector)
	}
	if image := all.deployment.Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, "@sha256:0123") {
		t.Errorf("image %s", image)
	}
}

func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ values, says string }{
		"no Kling secret":         {`nats: {url: "nats://nats"}`, "kling.existingSecret"},
		"no NATS":                 {`kling: {existingSecret: kling}`, "nats.url"},
		"a secret in the values":  {least + `config: {BRIDGE_CALLBACK_SECRET: 3}`, "config"},
		"a key in the wrong spot": {`kling: {existingSecret: kling, apiKey: x}`, "apiKey"},
		"plain http":              {least + `publicURL: http://bridge.example.com`, "publicURL"},
		"two replicas of streams": {`nats: {url: "nats://nats", streamReplicas: 2}`, "streamReplicas"},
		"an ingress of no host":   {least + `ingress: {enabled: true}`, "ingress.host"},
		"no such variable":        {least + `config: {PATH: /bin}`, "PATH"},
	} {
		if _, err := render(t, test.values); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func hasPort(c core.Container, name string) bool {
	return slices.ContainsFunc(c.Ports, func(p core.ContainerPort) bool { return p.Name == name })
}

func includes(labels, selector map[string]string) bool {
	both := maps.Clone(labels)
	maps.Copy(both, selector)
	return maps.Equal(both, labels)
}
