package kling

import (
	"reflect"
	"testing"
)

// answers are bodies of answers, and whether they are plain ones that say yes.
func answers() map[string]bool {
	return map[string]bool{
		`{"code":0,"message":"SUCCEED","request_id":"r-1","data":{"task_id":"1","task_status":"submitted"}}`: true,
		` { "request_id" : 17 , "code" : 0, "data":[ {"id":"1"}, {} ] } ` + "\n":                             true,
		`{"code":0}`:                               true,
		`{"code":0,"data":null}`:                   true,
		`{"code":0,"more":{}}`:                     true,
		`{"code":1303,"data":{}}`:                  false,
		`{"code":"0","data":{}}`:                   false,
		`{"code":0.0,"data":{}}`:                   false,
		`{"code":-0,"data":{}}`:                    false,
		`{"data":{}}`:                              false,
		`{"code":0,"code":1}`:                      false,
		`{"code":0,"Code":1}`:                      false,
		`{"code":0,"DATA":{}}`:                     false,
		`{"code":0,"d\u0061ta":1}`:                 false,
		`{"code":0,"message":"a \"b\"","data":{}}`: false,
		`{"code":0,"message":["a"],"data":{}}`:     false,
		`{"code":0,"message":null,"data":{}}`:      false,
		`{"code":0,"data":{"a":1,"a":2}}`:          false,
		"{\"code\":0,\"message\":\"\xff\"}":        false,
		"\ufeff" + `{"code":0}`:                    false,
		`{"code":0} {}`:                            false,
		`{"code":0`:                                false,
		`[]`:                                       false,
		`<html>`:                                   false,
		``:                                         false,
	}
}

// compareEnvelopes fails where the reader of plain answers accepts what the other one reads otherwise.
func compareEnvelopes(t *testing.T, body string) (accepted bool) {
	t.Helper()
	plain, ok := openPlainEnvelope([]byte(body))
	if !ok {
		return false
	}
	if want, err := openAnyEnvelope([]byte(body)); err != nil || !reflect.DeepEqual(plain, want) {
		t.Errorf("%s is read as %+v, want %+v; %v", body, plain, want, err)
	}
	return true
}

func TestPlainEnvelope(t *testing.T) {
	t.Parallel()
	for body, plain := range answers() {
		if compareEnvelopes(t, body) != plain {
			t.Errorf("%s: accepted is %v, want %v", body, !plain, plain)
		}
	}
}

func FuzzPlainEnvelope(f *testing.F) {
	for body := range answers() {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) { compareEnvelopes(t, body) })
}

func BenchmarkCreateAnswer(b *testing.B) {
	body := []byte(`{"code":0,"message":"SUCCEED","request_id":"CjhvUmDJLxsAAAAAADHKJg","data":{"task_id":"871000000000000101",` +
		`"task_status":"submitted","task_info":{"external_task_id":"k7f3abcd-order-000000042"},` +
		`"created_at":1761900000000,"updated_at":1761900000000}}`)
	b.ReportAllocs()
	for b.Loop() {
		a, failure := request{op: opCreate}.read(200, nil, body)
		if failure != nil {
			b.Fatal(failure)
		}
		if tasks, err := decodeTasks(a.data); err != nil || len(tasks) != 1 {
			b.Fatal(tasks, err)
		}
	}
}
