package events_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// schemaDoc is as much of a JSON Schema as the tests look at.
type schemaDoc struct {
	Ref        string               `json:"$ref"`
	Defs       map[string]schemaDoc `json:"$defs"`
	Required   []string             `json:"required"`
	Properties map[string]schemaDoc `json:"properties"`
	Items      *schemaDoc           `json:"items"`
	Enum       []string             `json:"enum"`

	PatternProperties map[string]schemaDoc `json:"patternProperties"`
}

func parseSchema(t *testing.T, data []byte) schemaDoc {
	t.Helper()
	var doc schemaDoc
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func (d schemaDoc) resolve(s schemaDoc) schemaDoc {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		return d.resolve(d.Defs[name])
	}
	return s
}

// follow is resolve, and returns the document that the schema stands in: another one may refer to that of events.
func (d schemaDoc) follow(t *testing.T, s schemaDoc) (doc, schema schemaDoc) {
	t.Helper()
	if ref, ok := strings.CutPrefix(s.Ref, "event.schema.json"); ok {
		d, s.Ref = parseSchema(t, events.EventSchema()), ref
	}
	return d, d.resolve(s)
}

// Every field of the types is in the schema and the reverse; what is required there is what the types always write.
func TestSchemasHaveTheFieldsOfTheTypes(t *testing.T) {
	t.Parallel()
	event := parseSchema(t, events.EventSchema())
	compareFields(t, event, event, reflect.TypeFor[events.Event]())
	archived := parseSchema(t, events.ArchivedSchema())
	compareFields(t, archived, archived, reflect.TypeFor[events.Archived]())
	api := parseSchema(t, events.APISchema())
	for endpoint, answer := range map[events.Endpoint]reflect.Type{
		events.EndpointTaskGet:    reflect.TypeFor[events.TaskAnswer](),
		events.EndpointTaskList:   reflect.TypeFor[events.TaskList](),
		events.EndpointTaskAgain:  reflect.TypeFor[events.Replayed](),
		events.EndpointTaskCancel: reflect.TypeFor[events.Cancelled](),
		events.EndpointDeadList:   reflect.TypeFor[events.DeadList](),
		events.EndpointDeadReplay: reflect.TypeFor[events.Replayed](),
		events.EndpointStatus:     reflect.TypeFor[events.BridgeStatus](),
	} {
		compareFields(t, api, api.Defs[string(endpoint)], answer)
	}
}

func compareFields(t *testing.T, doc, schema schemaDoc, typ reflect.Type) {
	t.Helper()
	var names, required []string
	for field := range typ.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
		if options != "omitempty" {
			required = append(required, name)
		}
		in, property := doc.follow(t, schema.Properties[name])
		fieldType := field.Type
		if fieldType.Kind() == reflect.Slice && property.Items != nil {
			in, property = in.follow(t, *property.Items)
			fieldType = fieldType.Elem()
		}
		if fieldType.Kind() == reflect.Pointer {
			fieldType = fieldType.Elem()
		}
		if fieldType.Kind() == reflect.Struct && fieldType != reflect.TypeFor[events.Time]() {
			compareFields(t, in, property, fieldType)
		}
	}
	if diff := cmp.Diff(sorted(names), slices.Sorted(maps.Keys(schema.Properties))); diff != "" {
		t.Errorf("fields of %s (-type +schema):\n%s", typ, diff)
	}
	if diff := cmp.Diff(sorted(required), sorted(schema.Required)); diff != "" {
		t.Errorf("required fields of %s (-type +schema):\n%s", typ, diff)
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func TestSchemaHasTheEnumsOfTheConstants(t *testing.T) {
	t.Parallel()
	constants := constantsOf(t, "event.go", "headers.go")
	doc := parseSchema(t, events.EventSchema())
	for def, typ := range map[string]string{"status": "Status", "source": "Source", "error_class": "ErrorClass"} {
		want := slices.Sorted(maps.Values(constants[typ]))
		if diff := cmp.Diff(want, sorted(doc.Defs[def].Enum)); diff != "" {
			t.Errorf("%s (-constants +schema):\n%s", def, diff)
		}
	}
}

// A task has the statuses of events, and two of its own.
func TestSchemaHasTheStatusesOfTasks(t *testing.T) {
	t.Parallel()
	constants := constantsOf(t, "event.go", "api.go")
	want := slices.Sorted(maps.Values(constants["Status"]))
	if diff := cmp.Diff(want, sorted(parseSchema(t, events.APISchema()).Defs["task_status"].Enum)); diff != "" {
		t.Errorf("(-constants +schema):\n%s", diff)
	}
}

// Every header constant is in a schema and the reverse, but for the headers that others define.
func TestSchemasHaveTheHeadersOfTheConstants(t *testing.T) {
	t.Parallel()
	want := map[string]bool{"Nats-Msg-Id": true, "traceparent": true, "tracestate": true, "baggage": true}
	for name, value := range constantsOf(t, "headers.go")[""] {
		if strings.HasPrefix(name, "Header") && !strings.HasSuffix(name, "Prefix") {
			want[value] = true
		}
	}
	got := map[string]bool{}
	event, request := parseSchema(t, events.EventSchema()), parseSchema(t, events.RequestSchema())
	for _, headers := range []schemaDoc{event.Defs["headers"], request.Defs["headers"], request.Defs["dead_headers"]} {
		for name := range headers.Properties {
			got[name] = true
		}
		for pattern := range headers.PatternProperties {
			if want := "^" + events.HeaderMetaPrefix + "."; pattern != want {
				t.Errorf("pattern %q, want %q", pattern, want)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-constants +schemas):\n%s", diff)
	}
}

// constantsOf reads the string constants of source files: by type, then by name.
func constantsOf(t *testing.T, files ...string) map[string]map[string]string {
	t.Helper()
	constants := map[string]map[string]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			decl, ok := decl.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			for _, spec := range decl.Specs {
				addConstant(t, constants, spec.(*ast.ValueSpec))
			}
		}
	}
	return constants
}

func addConstant(t *testing.T, constants map[string]map[string]string, spec *ast.ValueSpec) {
	t.Helper()
	typ := ""
	if ident, ok := spec.Type.(*ast.Ident); ok {
		typ = ident.Name
	}
	if constants[typ] == nil {
		constants[typ] = map[string]string{}
	}
	value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	constants[typ][spec.Names[0].Name] = value
}

// change is an event's body with some fields set, or removed where the value is nil.
func change(t *testing.T, ev events.Event, fields map[string]any) map[string]any {
	t.Helper()
	data, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(data, &body); err != nil {
		t.Fatal(err)
	}
	for name, value := range fields {
		if value == nil {
			delete(body, name)
			continue
		}
		body[name] = value
	}
	return body
}

func TestEventSchema(t *testing.T) {
	t.Parallel()
	schema := eventstest.Schema(t, "event.schema.json")
	type fields = map[string]any
	anError := fields{"class": "kling", "code": 0, "http_status": 0, "message": "", "retryable": true}
	aTime := "2026-11-23T09:00:00.000Z"
	optional := fields{
		"task_id": "1", "external_task_id": "x", "submitted_at": aTime, "units": "0.5", "kling": fields{"a": 1},
		"replay_of": "order-1",
	}
	durationAsString := fields{
		"videos": []any{fields{"id": "", "url": "", "watermark_url": "", "duration_seconds": "5"}},
		"images": []any{}, "audios": []any{}, "files": []any{}, "expires_at": aTime,
	}
	subtitles := fields{
		"videos": []any{}, "images": []any{}, "audios": []any{}, "expires_at": aTime,
		"files": []any{fields{"type": "srt", "url": "https://cdn.example/a.srt"}},
	}
	withoutFiles := fields{"videos": []any{}, "images": []any{}, "audios": []any{}, "expires_at": aTime}
	for name, tt := range map[string]struct {
		status events.Status
		fields fields
		ok     bool
	}{
		"submitted":            {events.StatusSubmitted, nil, true},
		"processing":           {events.StatusProcessing, nil, true},
		"succeed":              {events.StatusSucceed, nil, true},
		"failed":               {events.StatusFailed, nil, true},
		"rejected":             {events.StatusRejected, nil, true},
		"expired":              {events.StatusExpired, nil, true},
		"cancelled":            {events.StatusCancelled, nil, true},
		"all optional":         {events.StatusFailed, optional, true},
		"future fields":        {events.StatusSucceed, fields{"new": 1}, true},
		"kling left out":       {events.StatusSucceed, fields{"kling_omitted": true}, true},
		"kling out and there":  {events.StatusSucceed, fields{"kling_omitted": true, "kling": fields{}}, false},
		"kling not left out":   {events.StatusSucceed, fields{"kling_omitted": false}, false},
		"error on succeed":     {events.StatusSucceed, fields{"error": anError}, false},
		"succeed sans result":  {events.StatusSucceed, fields{"result": nil}, false},
		"succeed without time": {events.StatusSucceed, fields{"completed_at": nil}, false},
		"failed, no error":     {events.StatusFailed, fields{"error": nil}, false},
		"failed, no time":      {events.StatusFailed, fields{"completed_at": nil}, false},
		"failed with result":   {events.StatusFailed, fields{"result": fields{}}, false},
		"rejected, no error":   {events.StatusRejected, fields{"error": nil}, false},
		"expired, no error":    {events.StatusExpired, fields{"error": nil}, false},
		"cancelled, no error":  {events.StatusCancelled, fields{"error": nil}, false},
		"error on progress":    {events.StatusProcessing, fields{"error": anError}, false},
		"progress completed":   {events.StatusSubmitted, fields{"completed_at": aTime}, false},
		"result on progress":   {events.StatusProcessing, fields{"result": fields{}}, false},
		"unknown status":       {events.StatusSucceed, fields{"status": "succeeded"}, false},
		"unknown source":       {events.StatusSucceed, fields{"source": "rumour"}, false},
		"unknown error class":  {events.StatusFailed, fields{"error": with(maps.Clone(anError), "class", "bad")}, false},
		"error of one field":   {events.StatusFailed, fields{"error": fields{"class": "kling"}}, false},
		"no metadata":          {events.StatusSubmitted, fields{"metadata": nil}, false},
		"metadata no string":   {events.StatusSubmitted, fields{"metadata": fields{"a": 1}}, false},
		"no message":           {events.StatusSubmitted, fields{"message": nil}, false},
		"no request id":        {events.StatusSubmitted, fields{"request_id": ""}, false},
		"time in seconds":      {events.StatusSubmitted, fields{"requested_at": "2026-11-23T09:00:00Z"}, false},
		"time elsewhere":       {events.StatusSubmitted, fields{"requested_at": "2026-11-23T09:00:00.000+01:00"}, false},
		"time that never was":  {events.StatusSubmitted, fields{"requested_at": "2026-13-23T09:00:00.000Z"}, false},
		"units as a number":    {events.StatusSucceed, fields{"units": 3}, false},
		"kling no object":      {events.StatusSucceed, fields{"kling": "x"}, false},
		"a file":               {events.StatusSucceed, fields{"result": subtitles}, true},
		"result without files": {events.StatusSucceed, fields{"result": withoutFiles}, false},
		"result without lists": {events.StatusSucceed, fields{"result": fields{"expires_at": aTime}}, false},
		"duration as a string": {events.StatusSucceed, fields{"result": durationAsString}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			validate(t, schema, change(t, event("order-42", tt.status), tt.fields), tt.ok)
		})
	}
}

func TestRequestSchema(t *testing.T) {
	t.Parallel()
	type fields = map[string]any
	for name, tt := range map[string]struct {
		ref   string
		value any
		ok    bool
	}{
		"empty":               {"", fields{}, true},
		"fields of Kling's":   {"", fields{"prompt": "a", "n": 1.5, "new": []any{nil}}, true},
		"empty is absent":     {"", fields{"callback_url": "", "external_task_id": ""}, true},
		"own external id":     {"", fields{"external_task_id": "order-42.a_b"}, true},
		"newer API":           {"", fields{"model": "kling-3.0", "options": fields{"external_task_id": "a"}}, true},
		"no object":           {"", []any{}, false},
		"callback URL":        {"", fields{"callback_url": "https://a"}, false},
		"its callback":        {"", fields{"options": fields{"callback_url": "https://a"}}, false},
		"id is a number":      {"", fields{"external_task_id": 1}, false},
		"id all digits":       {"", fields{"external_task_id": "123"}, false},
		"id too long":         {"", fields{"external_task_id": strings.Repeat("x", 65)}, false},
		"id with a space":     {"", fields{"options": fields{"external_task_id": "a b"}}, false},
		"no headers":          {"#/$defs/headers", fields{}, true},
		"headers":             {"#/$defs/headers", fields{"Kling-Request-Id": "ö", "Kling-Timeout": "90m", "X": "y"}, true},
		"whole seconds":       {"#/$defs/headers", fields{"Kling-Timeout": "90"}, true},
		"timeout fraction":    {"#/$defs/headers", fields{"Kling-Timeout": "1.5h"}, true},
		"timeout is a unit":   {"#/$defs/headers", fields{"Kling-Timeout": "h"}, false},
		"timeout negative":    {"#/$defs/headers", fields{"Kling-Timeout": "-1h"}, false},
		"timeout in days":     {"#/$defs/headers", fields{"Kling-Timeout": "1d"}, false},
		"id of 129 bytes":     {"#/$defs/headers", fields{"Kling-Request-Id": strings.Repeat("x", 129)}, false},
		"dead letter":         {"#/$defs/dead_headers", deadHeaders("invalid"), true},
		"of a malformed one":  {"#/$defs/dead_headers", with(deadHeaders("invalid"), "Kling-Timeout", "soon"), true},
		"odd class":           {"#/$defs/dead_headers", deadHeaders("odd"), false},
		"dead without reason": {"#/$defs/dead_headers", fields{"Kling-Request-Id": "x"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			validate(t, eventstest.Schema(t, "request.schema.json"+tt.ref), tt.value, tt.ok)
		})
	}
}

func deadHeaders(class string) map[string]any {
	return map[string]any{
		"Kling-Request-Id": "order-42", "Nats-Msg-Id": "order-42.dead", "Kling-Error-Class": class,
		"Kling-Error-Code": "1201", "Kling-Error-Http-Status": "400", "Kling-Error-Message": "no",
	}
}

func with(headers map[string]any, name, value string) map[string]any {
	headers[name] = value
	return headers
}

func validate(t *testing.T, schema *jsonschema.Schema, value any, ok bool) {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(instance); (err == nil) != ok {
		t.Errorf("valid is %t, want %t: %v\n%s", err == nil, ok, err, data)
	}
}
