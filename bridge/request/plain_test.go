package request

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// bodies are objects of all sorts, and what is none.
func bodies() map[string]string {
	return map[string]string{
		"plain":                   `{"model_name":"kling-v3","duration":"5","cfg_scale":0.50,"n":1e2,"on":true,"off":null}`,
		"empty":                   `{}`,
		"space":                   " {\n\t\"a\" : [1 , 2] ,\r\n \"b\":{ \"c\" : \"d\" } } \n",
		"nested":                  `{"options":{"callback_url":"","x":[{"y":[]}]},"model":"kling-3.0"}`,
		"a name twice":            `{"a":1,"b":2,"a":3,"c":{"d":1,"d":2}}`,
		"not ASCII":               `{"prompt":"ein Leuchtturm für 灯台","ü":1}`,
		"escapes in a value":      `{"prompt":"a \"lighthouse\" \u00fc \ud83d\ude00"}`,
		"escapes in a name":       `{"pro\u006dpt":"x"}`,
		"half a pair":             `{"prompt":"\ud83d"}`,
		"a large value":           `{"image":"` + strings.Repeat("iVBORw0K", largeValue/8) + `","n":1}`,
		"nothing":                 ``,
		"a list":                  `[]`,
		"a word":                  `null`,
		"not closed":              `{"a":1`,
		"no value":                `{"a":}`,
		"no name":                 `{:1}`,
		"a number as a name":      `{1:2}`,
		"no comma":                `{"a":1 "b":2}`,
		"a comma at the end":      `{"a":1,}`,
		"a comma at the start":    `{,"a":1}`,
		"something after it":      `{"a":1} {}`,
		"a bracket after it":      `{"a":1}}`,
		"a mark before it":        "\ufeff{}",
		"a control character":     "{\"a\":\"\x01\"}",
		"not UTF-8":               "{\"a\":\"\xff\"}",
		"not UTF-8 in a name":     "{\"\xff\":1}",
		"a zero before a number":  `{"a":01}`,
		"a number that is none":   `{"a":1.}`,
		"a zero byte after it":    "{}\x00",
		"a vertical tab after it": "{}\v",
	}
}

// compareParsers fails where the parser of plain bodies accepts what the other one reads otherwise.
func compareParsers(t *testing.T, body string) (accepted bool) {
	t.Helper()
	plain, ok := parsePlain([]byte(body))
	if !ok {
		return false
	}
	want, err := parseAny([]byte(body))
	if err != nil {
		t.Errorf("%s is accepted: %v", body, err)
		return true
	}
	if len(plain.fields) != len(want.fields) || len(want.fields) > 0 && !reflect.DeepEqual(plain, want) {
		t.Errorf("%s is read as %s, want %s", body, plain.fields, want.fields)
	}
	return true
}

func TestPlainParser(t *testing.T) {
	t.Parallel()
	left := map[string]bool{"escapes in a name": true, "half a pair": true}
	for name, body := range bodies() {
		_, err := parseAny([]byte(body))
		if accepted := compareParsers(t, body); accepted != (err == nil && !left[name]) {
			t.Errorf("%s: accepted is %v, and the other parser says %v", name, accepted, err)
		}
	}
}

func FuzzPlainParser(f *testing.F) {
	for _, body := range bodies() {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) { compareParsers(t, body) })
}

// TestPlainText holds what is quoted by hand to what the encoder makes of it.
func TestPlainText(t *testing.T) {
	t.Parallel()
	for c := range 0x100 {
		text := "a" + string(rune(c)) + "b"
		if want, err := json.Marshal(text); plainText(text) && (err != nil || string(quote(text)) != string(want)) {
			t.Errorf("%q is quoted as %s, want %s", text, quote(text), want)
		}
	}
	for _, text := range []string{"", "k7f3-order-42", `"`, `\`, "\n", "ü", "\xff", "a&b<c>", "\u2028"} {
		o := Object{fields: []field{{text, quote(text)}}}
		again, err := parseAny(o.encode())
		if want := strings.ToValidUTF8(text, "\ufffd"); err != nil || again.fields[0].name != want {
			t.Errorf("%q is written as %s; %v", text, o.encode(), err)
		}
		if s, err := again.takeString(again.fields[0].name); err != nil || s != strings.ToValidUTF8(text, "\ufffd") {
			t.Errorf("%q is quoted as %q; %v", text, s, err)
		}
	}
}

// TestIsModel holds the names of models to the expression that describes them.
func TestIsModel(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	names := []string{"", "kling-v3", "kling-3.0_turbo", "KLING", "a b", "é", "a/b", "a\n", strings.Repeat("m", 64), strings.Repeat("m", 65)}
	for c := range 256 {
		names = append(names, string([]byte{byte(c)}))
	}
	for _, name := range names {
		if got, want := IsModel(name), pattern.MatchString(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
