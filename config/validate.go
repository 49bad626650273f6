package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	hostName      = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]$`)
	domainName    = regexp.MustCompile(`^[^\s.*>]+$`)
	subjectPrefix = regexp.MustCompile(`^[^\s.*>]+(\.[^\s.*>]+)*$`)

	namespace = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)
)

// validate returns what the variables' types can't say, topic by topic.
func (c Config) validate() Faults {
	return slices.Concat(c.validateKling(), c.validateAccounts(), c.validateNATS(), c.validateCallbacks(), c.validateTLS(), c.validateLimits(),
		c.validateLogging(), c.validateFiles())
}

func (c Config) validateKling() Faults {
	var f Faults
	f.addIf("KLING_BASE_URL", httpURLProblem(c.KlingBaseURL))
	for _, secret := range c.KlingWebhookSecret {
		f.addIf("KLING_WEBHOOK_SECRET", webhookSecretProblem(secret.Reveal()))
	}
	if !namespace.MatchString(c.Namespace) {
		f.add("BRIDGE_NAMESPACE", "%q is not made of up to 64 letters, digits, _ and -", c.Namespace)
	}
	return f
}

func (c Config) validateNATS() Faults {
	var f Faults
	f.addIf("NATS_URL", natsURLProblem(c.NATSURL.Reveal()))
	f.addIf("BRIDGE_EMBEDDED_ADDR", addrProblem(c.EmbeddedAddr))
	logins := setOf(map[string]bool{
		"NATS_CREDS": c.NATSCreds != "", "NATS_NKEY": c.NATSNKey != "",
		"NATS_USER": c.NATSUser != "", "NATS_TOKEN": c.NATSToken != "",
	})
	if len(logins) > 1 {
		f.add(logins[0], "only one of %s can log in", strings.Join(logins, ", "))
	}
	if c.NATSPassword != "" && c.NATSUser == "" {
		f.add("NATS_PASSWORD", "is set, but NATS_USER is not")
	}
	f.addPair("NATS_CERT", c.NATSCert, "NATS_KEY", c.NATSKey)
	f = append(f, c.validateHosted()...)
	switch {
	case !slices.Contains([]int{1, 3, 5}, c.StreamReplicas):
		f.add("BRIDGE_STREAM_REPLICAS", "%d is not 1, 3 or 5", c.StreamReplicas)
	case c.StreamReplicas > 1 && c.Embedded():
		f.add("BRIDGE_STREAM_REPLICAS", "%d wants a cluster, but the embedded server is one: set NATS_URL", c.StreamReplicas)
	}
	return f
}

// validateHosted is for what a NATS system of somebody else's may want.
func (c Config) validateHosted() Faults {
	var f Faults
	if c.NATSJSDomain != "" && !domainName.MatchString(c.NATSJSDomain) {
		f.add("NATS_JS_DOMAIN", "%q is not one subject token (want e.g. hub)", c.NATSJSDomain)
	}
	if c.NATSJSAPIPrefix != "" && !subjectPrefix.MatchString(strings.TrimSuffix(c.NATSJSAPIPrefix, ".")) {
		f.add("NATS_JS_API_PREFIX", "%q is not a subject (want e.g. $JS.kling.API)", c.NATSJSAPIPrefix)
	}
	if c.NATSInboxPrefix != "" && !subjectPrefix.MatchString(c.NATSInboxPrefix) {
		f.add("NATS_INBOX_PREFIX", "%q is not a subject (want e.g. _INBOX_kling)", c.NATSInboxPrefix)
	}
	if c.NATSJSAPIPrefix != "" && c.NATSJSDomain != "" {
		f.add("NATS_JS_API_PREFIX", "is set together with NATS_JS_DOMAIN: only one of them can be used")
	}
	if c.Embedded() {
		f = append(f, c.validateEmbedded()...)
	}
	return f
}

// validateEmbedded finds what is only for a server of somebody else's.
func (c Config) validateEmbedded() Faults {
	var f Faults
	if c.NATSJSAPIPrefix != "" && c.NATSJSDomain == "" {
		f.add("NATS_JS_API_PREFIX", "is not for the embedded server: set NATS_URL")
	}
	if c.NATSTLSFirst {
		f.add("NATS_TLS_FIRST", "is not for the embedded server, which has no TLS: set NATS_URL")
	}
	return f
}

func (c Config) validateCallbacks() Faults {
	var f Faults
	if c.PublicURL != "" {
		f.addIf("BRIDGE_PUBLIC_URL", httpURLProblem(c.PublicURL))
	}
	f.addIf("BRIDGE_CALLBACK_ADDR", addrProblem(c.CallbackAddr))
	f.addIf("BRIDGE_ADMIN_ADDR", addrProblem(c.AdminAddr))
	if c.CallbackAddr == c.AdminAddr && !strings.HasSuffix(c.AdminAddr, ":0") {
		f.add("BRIDGE_ADMIN_ADDR", "%q is the callback listener's address: they never share one", c.AdminAddr)
	}
	if c.TraceURL != "" {
		f.addIf("BRIDGE_TRACE_URL", traceURLProblem(c.TraceURL))
	}
	f.addIf("BRIDGE_CALLBACK_TRUST", choiceProblem(c.CallbackTrust, "url", "query"))
	return f
}

// traceURLProblem tells what is wrong with a link to a trace, which people's browsers follow.
func traceURLProblem(link string) string {
	const traceID = "{trace_id}"
	if !strings.Contains(link, traceID) {
		return fmt.Sprintf("%q does not have %s in it (want e.g. https://jaeger.example.com/trace/%s)", link, traceID, traceID)
	}
	u, err := url.Parse(strings.ReplaceAll(link, traceID, "0"))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Sprintf("%q is not an http or https URL", link)
	}
	return ""
}

func (c Config) validateTLS() Faults {
	var f Faults
	f.addPair("BRIDGE_TLS_CERT", c.TLSCert, "BRIDGE_TLS_KEY", c.TLSKey)
	switch {
	case c.TLSAutocert == "":
	case c.TLSCert != "" || c.TLSKey != "":
		f.add("BRIDGE_TLS_AUTOCERT", "is set together with BRIDGE_TLS_CERT or BRIDGE_TLS_KEY: choose one way")
	case !hostName.MatchString(c.TLSAutocert):
		f.add("BRIDGE_TLS_AUTOCERT", "%q is not a public host name (want e.g. bridge.example.com)", c.TLSAutocert)
	}
	return f
}

// validateLimits wants every duration above zero, whatever it is for.
func (c Config) validateLimits() Faults {
	var f Faults
	for field, value := range reflect.ValueOf(c).Fields() {
		d, ok := value.Interface().(time.Duration)
		if ok && d <= 0 {
			f.add(field.Tag.Get("env"), "%s is not above zero", d)
		}
	}
	if c.PollMaxInterval < c.PollMinInterval {
		f.add("BRIDGE_POLL_MAX_INTERVAL", "%s is below BRIDGE_POLL_MIN_INTERVAL (%s)", c.PollMaxInterval, c.PollMinInterval)
	}
	if c.KlingTimeout >= c.LookupWindow {
		// A claim of a send has to be good for as long as the send takes.
		f.add("BRIDGE_KLING_TIMEOUT", "%s is not below BRIDGE_LOOKUP_WINDOW (%s)", c.KlingTimeout, c.LookupWindow)
	}
	if c.Retries < 0 || c.Retries > 5 {
		f.add("BRIDGE_RETRIES", "%d is not 0 to 5", c.Retries)
	}
	if c.MaxInlineBytes < 1 {
		f.add("BRIDGE_MAX_INLINE_BYTES", "%d is not above zero", c.MaxInlineBytes)
	}
	if c.ArchiveMaxBytes < 1 {
		f.add("BRIDGE_ARCHIVE_MAX_BYTES", "%d is not above zero", c.ArchiveMaxBytes)
	}
	return f
}

func (c Config) validateLogging() Faults {
	var f Faults
	f.addIf("BRIDGE_LOG_LEVEL", choiceProblem(strings.ToLower(c.LogLevel), "debug", "info", "warn", "error"))
	if c.LogFormat != "" {
		f.addIf("BRIDGE_LOG_FORMAT", choiceProblem(c.LogFormat, "text", "json"))
	}
	return f
}

func (c Config) validateFiles() Faults {
	var f Faults
	for variable, path := range map[string]string{
		"NATS_CREDS": c.NATSCreds, "NATS_NKEY": c.NATSNKey,
		"NATS_CA": c.NATSCA, "NATS_CERT": c.NATSCert, "NATS_KEY": c.NATSKey,
		"BRIDGE_TLS_CERT": c.TLSCert, "BRIDGE_TLS_KEY": c.TLSKey,
	} {
		if path != "" {
			f.addIf(variable, fileProblem(path))
		}
	}
	return f
}

func (f *Faults) add(variable, format string, args ...any) {
	*f = append(*f, Fault{variable, fmt.Sprintf(format, args...)})
}

func (f *Faults) addIf(variable, problem string) {
	if problem != "" {
		*f = append(*f, Fault{variable, problem})
	}
}

// addPair faults the half that is missing.
func (f *Faults) addPair(name, value, otherName, otherValue string) {
	switch {
	case value == "" && otherValue != "":
		f.add(name, "is not set, but %s is: they go together", otherName)
	case value != "" && otherValue == "":
		f.add(otherName, "is not set, but %s is: they go together", name)
	}
}

// httpURLProblem wants https, or http to this machine. A URL with a user in it is not shown: it holds a password.
func httpURLProblem(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "":
		return quoted(raw) + " is not a URL (want e.g. https://example.com)"
	case u.User != nil:
		return "must not hold a user or password"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return quoted(raw) + " has a query or fragment"
	case u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()):
		return ""
	default:
		return quoted(raw) + " is not https (http is for loopback only)"
	}
}

func quoted(raw string) string {
	if strings.Contains(raw, "@") {
		return redacted
	}
	return strconv.Quote(raw)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// webhookSecretProblem wants the form of Standard Webhooks, which Kling's console hands out.
func webhookSecretProblem(secret string) string {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return "a secret does not begin with whsec_"
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return "what follows whsec_ is not base64"
	}
	return ""
}

// natsURLProblem never shows the URL: a user, password or token may be part of it.
func natsURLProblem(list string) string {
	if list == "" {
		return ""
	}
	for server := range strings.SplitSeq(list, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return "want nats://host:port, comma-separated for several servers (also tls, ws and wss)"
		}
	}
	return ""
}

func addrProblem(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Sprintf("%q is not an address (want e.g. 127.0.0.1:8080 or :8080)", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < -1 || n > 65535 {
		return fmt.Sprintf("%q has no port between 0 and 65535", addr)
	}
	return ""
}

func choiceProblem(value string, choices ...string) string {
	if slices.Contains(choices, value) {
		return ""
	}
	return fmt.Sprintf("%q is not one of %s", value, strings.Join(choices, ", "))
}

func fileProblem(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.IsDir() {
		return fmt.Sprintf("%q is not a file", path)
	}
	return ""
}

// setOf returns the names that are true, sorted.
func setOf(names map[string]bool) []string {
	var set []string
	for name, ok := range names {
		if ok {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	return set
}
