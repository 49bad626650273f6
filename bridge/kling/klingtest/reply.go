package klingtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// reply is what a call is answered with.
type reply struct {
	status  int
	code    int
	message string
	data    any  // nil: the key is absent, as on every error
	raw     *Raw // instead of Kling's
}

// refusal is an error in Kling's format.
type refusal struct {
	code    int
	message string // empty: the usual one
}

func (r refusal) reply() reply {
	status, message := standing(r.code)
	if r.message != "" {
		message = r.message
	}
	return reply{status: status, code: r.code, message: message}
}

// refuse is what a call that can't be handled is prepared with.
func refuse(r *refusal) (Fault, func() reply) { return nil, r.reply }

func accept(data any) reply {
	return reply{status: http.StatusOK, message: "SUCCEED", data: data}
}

// standing returns the HTTP status of a code (Kling's error code page, 2026-10) and a message, recorded if there is a
// recording.
func standing(code int) (status int, message string) {
	if s, ok := standings[code]; ok {
		return s.status, s.message
	}
	return http.StatusBadRequest, "Bad request" // 1200, 1201, 1300, 1301
}

var standings = map[int]struct {
	status  int
	message string
}{
	0:    {http.StatusOK, "SUCCEED"},
	1000: {http.StatusUnauthorized, "Authentication failed"},
	1001: {http.StatusUnauthorized, "Authorization is empty"},
	1002: {http.StatusUnauthorized, "Authorization is invalid"},
	1003: {http.StatusUnauthorized, "Authorization is not yet valid"},
	1004: {http.StatusUnauthorized, "Authorization has expired"},
	1100: {http.StatusTooManyRequests, "Account exception"},
	1101: {http.StatusTooManyRequests, "Account in arrears"},
	1102: {http.StatusTooManyRequests, "Account balance not enough"},
	1103: {http.StatusForbidden, "No permission for this API or model"},
	1202: {http.StatusNotFound, "Resource not found"},
	1203: {http.StatusNotFound, "Resource not found"},
	1302: {http.StatusTooManyRequests, "Request too fast"},
	1303: {http.StatusTooManyRequests, "parallel task over resource pack limit"},
	1304: {http.StatusTooManyRequests, "IP not on the allow list"},
	5000: {http.StatusInternalServerError, "Server internal error"},
	5001: {http.StatusServiceUnavailable, "Server under maintenance"},
	5002: {http.StatusGatewayTimeout, "Server internal timeout"},
}

func notFoundPage() reply   { return page(http.StatusNotFound) }
func badGatewayPage() reply { return page(http.StatusBadGateway) }
func timeoutPage() reply    { return page(http.StatusGatewayTimeout) }

func page(status int) reply { return Page{HTTPStatus: status}.reply() }

// encode returns the body and its content type.
func (r reply) encode(requestID string) (body []byte, contentType string) {
	if r.raw != nil {
		return []byte(r.raw.Body), r.raw.ContentType
	}
	return encodeJSON(struct {
		Code      int    `json:"code"`
		Message   string `json:"message"`
		RequestID string `json:"request_id"`
		Data      any    `json:"data,omitempty"`
	}{r.code, r.message, requestID, r.data}), "application/json"
}

// encodeJSON leaves & in URLs as it is, like Kling.
func encodeJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("klingtest: encode %T: %v", v, err)) // only our own types come here
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (s *Server) write(w http.ResponseWriter, c call, r reply) {
	if r.code != 0 {
		s.mu.Lock()
		s.calls.Refused[r.code]++
		if c.route == RouteCreate {
			s.calls.RefusedCreates[r.code]++
		}
		s.mu.Unlock()
		s.tell(Event{Type: Refused, Route: c.route, Code: r.code, HTTPStatus: r.status, Detail: r.message})
	}
	body, contentType := r.encode(s.requestID())
	w.Header().Set("Content-Type", contentType)
	if r.raw != nil && r.raw.Location != "" {
		w.Header().Set("Location", r.raw.Location)
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(body) // a client that has gone misses its answer
}

// requestID returns a UUID, the form of today (recorded, 2026).
func (s *Server) requestID() string {
	a, b := s.ids.between(0, 1<<62), s.ids.between(0, 1<<62)
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x",
		a&0xffffffff, a>>32&0xffff, a>>48&0xfff, b&0xfff, b>>12&0xffffffffffff)
}

// respond answers a call with what handle returns, or does to it what the fault says.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, c call, fault Fault, handle func() reply) {
	if fault != nil {
		s.tell(Event{Type: Faulted, Route: c.route, Detail: describe(fault)})
	}
	switch f := fault.(type) {
	case Answer:
		s.write(w, c, f.reply())
	case Page:
		s.respondInstead(w, c, f.reply(), f.AfterStore, handle)
	case Raw:
		s.respondInstead(w, c, f.reply(), f.AfterStore, handle)
	case Effect:
		s.respondBadly(w, r, c, f, handle)
	case Slow:
		// Handled even when the client has gone by then: this is how tasks come to be that nobody knows of.
		if !s.pause(time.Duration(f)) {
			reset(w)
			return
		}
		s.write(w, c, handle())
	default:
		s.write(w, c, handle())
	}
}

func describe(f Fault) string {
	switch f := f.(type) {
	case Slow:
		return "slow " + time.Duration(f).String()
	case Answer:
		return "answer " + strconv.Itoa(f.Code)
	case Page:
		return strings.TrimSpace(fmt.Sprintf("page %d %s", f.reply().status, f.Title))
	case Raw:
		return fmt.Sprintf("other answer %d", f.reply().status)
	default:
		return fmt.Sprint(f)
	}
}

// respondInstead gives another answer than Kling's, to a call that is handled or not.
func (s *Server) respondInstead(w http.ResponseWriter, c call, other reply, handled bool, handle func() reply) {
	if handled {
		if rep := handle(); rep.code != 0 {
			other = rep
		}
	}
	s.write(w, c, other)
}

func (a Answer) reply() reply {
	r := refusal{a.Code, a.Message}.reply()
	if a.HTTPStatus != 0 {
		r.status = a.HTTPStatus
	}
	return r
}

// pause waits for d of the simulation's time, and reports whether the server still runs then.
func (s *Server) pause(d time.Duration) bool {
	timer := time.NewTimer(s.scaled(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) respondBadly(w http.ResponseWriter, r *http.Request, c call, e Effect, handle func() reply) {
	switch e {
	case ResetBeforeStore:
		reset(w)
	case Error500NoTask:
		s.write(w, c, refusal{code: 5000}.reply())
	case Error503NoTask:
		s.write(w, c, refusal{code: 5001}.reply())
	case HTML502NoTask:
		s.write(w, c, badGatewayPage())
	case HTML404:
		s.write(w, c, notFoundPage())
	case TooFast1302:
		s.write(w, c, refusal{code: 1302}.reply())
	case TooFastNoCode429:
		w.WriteHeader(http.StatusTooManyRequests)
	case Gone1201:
		s.write(w, c, refusal{1201, "This API is no longer available"}.reply())
	default:
		s.loseReply(w, r, c, e, handle())
	}
}

// loseReply keeps the answer of a call that was handled from its client.
func (s *Server) loseReply(w http.ResponseWriter, r *http.Request, c call, e Effect, rep reply) {
	if rep.code != 0 {
		s.write(w, c, rep)
		return
	}
	switch e {
	case Gateway504AfterStore:
		s.write(w, c, timeoutPage())
	case TruncateAfterStore:
		s.truncate(w, rep)
	case HangAfterStore:
		select {
		case <-r.Context().Done():
		case <-s.ctx.Done():
		}
		reset(w)
	case Error500AfterStore:
		s.write(w, c, refusal{code: 5000}.reply())
	case ExistsAfterStore:
		s.write(w, c, alreadyExists(externalIDOf(rep)).reply())
	default:
		reset(w)
	}
}

// externalIDOf returns that of the task that was created; empty: it has none, or the call was another one.
func externalIDOf(rep reply) string {
	created, _ := rep.data.(shown)
	return created.view.ExternalID
}

// truncate announces the whole body and sends half of it; net/http closes such a connection.
func (s *Server) truncate(w http.ResponseWriter, rep reply) {
	body, contentType := rep.encode(s.requestID())
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(rep.status)
	_, _ = w.Write(body[:len(body)/2])
}

// reset ends the connection without an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2, or no connection at all
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // so that the peer sees a reset, not an orderly end
	}
	_ = conn.Close()
}
