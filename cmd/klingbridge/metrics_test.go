package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metricsql"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "write the page's table of metrics")

const (
	pageFile      = "../../deployments/prometheus/README.md"
	alertsFile    = "../../deployments/prometheus/alerts.yaml"
	alertsTest    = "../../deployments/prometheus/alerts_test.yaml"
	runbookFile   = "../../deployments/prometheus/RUNBOOK.md"
	dashboardFile = "../../deployments/grafana/klingbridge.json"

	runbookURL = "https://github.com/klingbridge/klingbridge/blob/main/deployments/prometheus/RUNBOOK.md"
)

// TestMetricsInUse holds the page of metrics, the dashboard and the alerts to what a running bridge reports after some of
// everything has happened. With -update it writes the page's table.
func TestMetricsInUse(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	maps.Copy(environ, map[string]string{
		"BRIDGE_POLL_AFTER": "1s", "BRIDGE_POLL_MIN_INTERVAL": "1s", "BRIDGE_CONCURRENCY": "image=9",
	})
	dev := open(t, environ, "dev", "--slots", "video=1", "--task-time", "2s", "--submitted-time", "50ms")
	for _, args := range [][]string{
		{"--prompt", "expires, and comes late", "--timeout", "1s"},
		{"--prompt", "has to wait for its slot"},
		{"--prompt", "has to wait for it, too"}, // a limit that a task has disproved is unknown until the next refusal
		{"--prompt", "has to wait for longer"},
		{"--prompt", "[policy]"},
	} {
		if got := execute(t.Context(), environ, "", append([]string{"submit", "text2video"}, args...)...); got.code != 0 {
			t.Fatalf("submit %v: %s", args, got.stderr)
		}
	}
	used := map[string]string{} // expression: where it is
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			used[forPrometheus(target.Expr)] = "panel " + panel.Title
		}
	}
	for _, rule := range readAlerts(t) {
		used[rule.Expr] = "alert " + rule.Alert
	}
	families := scrapeUntil(t, "http://"+environ["BRIDGE_ADMIN_ADDR"]+"/metrics", dev, metricNames(t, used))
	for expr, where := range used {
		checkSelectors(t, where, expr, families)
	}
	holdReadme(t, metricsTable(families))
}

// metricFamily is one metric as the tests look at it.
type metricFamily struct {
	kind, help string
	labels     map[string][]string // the values seen, by name
}

// scrapeUntil scrapes until every wanted metric is there.
func scrapeUntil(t *testing.T, url string, dev *terminal, wanted []string) map[string]metricFamily {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		families := scrape(t, url)
		missing := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool {
			_, ok := families[family(name)]
			return ok || name == "up"
		})
		if len(missing) == 0 {
			return families
		}
		select {
		case <-deadline:
			t.Fatalf("no replica reports %q\n%s", missing, dev)
		case <-tick.C:
		}
	}
}

func scrape(t *testing.T, url string) map[string]metricFamily {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	parsed, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]metricFamily{}
	for name, f := range parsed {
		m := metricFamily{kind: strings.ToLower(f.GetType().String()), help: f.GetHelp(), labels: map[string][]string{}}
		for _, series := range f.GetMetric() {
			for _, pair := range series.GetLabel() {
				m.labels[pair.GetName()] = append(m.labels[pair.GetName()], pair.GetValue())
			}
		}
		if f.GetType() == dto.MetricType_HISTOGRAM {
			m.labels["le"] = nil
		}
		families[name] = m
	}
	return families
}

// family is the name under which a histogram's series are described.
func family(name string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			return base
		}
	}
	return name
}

// forPrometheus puts something in the place of Grafana's variables.
func forPrometheus(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$job", ".+").Replace(expr)
}

// selectors calls f with the filters of every metric in an expression, the name first.
func selectors(t *testing.T, where, expr string, f func([]metricsql.LabelFilter)) {
	t.Helper()
	parsed, err := metricsql.Parse(expr)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		if m, ok := e.(*metricsql.MetricExpr); ok {
			for _, filters := range m.LabelFilterss {
				f(filters)
			}
		}
	})
}

func metricNames(t *testing.T, used map[string]string) []string {
	t.Helper()
	names := map[string]bool{}
	for expr, where := range used {
		selectors(t, where, expr, func(filters []metricsql.LabelFilter) { names[filters[0].Value] = true })
	}
	if len(names) < 20 {
		t.Errorf("only %d metrics are in use", len(names))
	}
	return slices.Sorted(maps.Keys(names))
}

// checkSelectors finds labels that a metric does not have, and outcomes that there are none of.
func checkSelectors(t *testing.T, where, expr string, families map[string]metricFamily) {
	t.Helper()
	selectors(t, where, expr, func(filters []metricsql.LabelFilter) {
		m := families[family(filters[0].Value)]
		for _, filter := range filters[1:] {
			if filter.Label == "job" || filter.Label == "instance" { // added by Prometheus
				continue
			}
			values, known := m.labels[filter.Label]
			if !known {
				t.Errorf("%s: %s has no label %s", where, filters[0].Value, filter.Label)
			}
			if filter.Label != "outcome" { // which are all shown from the start
				continue
			}
			for value := range strings.SplitSeq(filter.Value, "|") {
				if !slices.Contains(values, value) {
					t.Errorf("%s: no %s of %s is %s", where, filter.Label, filters[0].Value, value)
				}
			}
		}
	})
}

// metricsTable describes the bridge's own metrics in Markdown.
func metricsTable(families map[string]metricFamily) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if !strings.HasPrefix(name, "kling_") {
			continue
		}
		m := families[name]
		var labels []string
		for _, label := range slices.Sorted(maps.Keys(m.labels)) {
			if label != "le" {
				labels = append(labels, "`"+label+"`")
			}
		}
		list := strings.Join(labels, ", ")
		if list != "" {
			list += " "
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s| %s |\n", name, m.kind, list, m.help)
	}
	return b.String()
}

func holdReadme(t *testing.T, want string) {
	t.Helper()
	const begin, end = "<!-- metrics:begin -->\n", "<!-- metrics:end -->"
	before, rest, begins := strings.Cut(readText(t, pageFile), begin)
	table, after, ends := strings.Cut(rest, end)
	switch {
	case !begins || !ends:
		t.Fatalf("%s has no table between %q and %q", pageFile, begin, end)
	case table == want:
	case !*update:
		t.Fatalf("the table of metrics in %s is not current: make generate", pageFile)
	default:
		if err := os.WriteFile(pageFile, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readText(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// alert is one rule of the alerts file.
type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readAlerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string  `yaml:"name"`
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(readText(t, alertsFile)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// TestEveryAlertIsExplained holds alerts, runbook and the alerts' own tests together.
func TestEveryAlertIsExplained(t *testing.T) {
	t.Parallel()
	runbook, tests := readText(t, runbookFile), readText(t, alertsTest)
	alerts := readAlerts(t)
	for _, a := range alerts {
		if !strings.Contains(runbook, "\n## "+a.Alert+"\n") {
			t.Errorf("%s is not in the runbook", a.Alert)
		}
		if !strings.Contains(tests, "alertname: "+a.Alert+"\n") {
			t.Errorf("%s has no test", a.Alert)
		}
		if want := runbookURL + "#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s leads to %s", a.Alert, a.Annotations["runbook_url"])
		}
		if a.Labels["severity"] == "" || a.Annotations["summary"] == "" {
			t.Errorf("%s has labels %v, annotations %v", a.Alert, a.Labels, a.Annotations)
		}
	}
	if n := strings.Count(runbook, "\n## "); n != len(alerts) {
		t.Errorf("%d headings in the runbook for %d alerts", n, len(alerts))
	}
}

// dashboard is as much of Grafana's model as the tests look at.
type dashboard struct {
	UID        string `json:"uid"`
	Templating struct {
		List []struct{ Name, Type string } `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID         int                  `json:"id"`
		Type       string               `json:"type"`
		Title      string               `json:"title"`
		Datasource struct{ UID string } `json:"datasource"`
		GridPos    struct{ H, W, X, Y int }
		Targets    []struct {
			Expr       string               `json:"expr"`
			Datasource struct{ UID string } `json:"datasource"`
		} `json:"targets"`
	} `json:"panels"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(readText(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboardLoadsAnywhere finds what would have to be edited before the dashboard works.
func TestDashboardLoadsAnywhere(t *testing.T) {
	t.Parallel()
	const variable = "${datasource}"
	d := readDashboard(t)
	if d.UID == "" || len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" {
		t.Errorf("uid %q, variables %+v", d.UID, d.Templating.List)
	}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W == 0 {
			t.Errorf("panel %s: id %d, place %+v", p.Title, p.ID, p.GridPos)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != variable || len(p.Targets) == 0 {
			t.Errorf("panel %s: data source %s, %d targets", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != variable {
				t.Errorf("panel %s: data source %s", p.Title, target.Datasource.UID)
			}
		}
	}
}
