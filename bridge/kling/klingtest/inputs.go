package klingtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// unreachableInput is how a task fails whose input can't be fetched (recorded).
const unreachableInput = "Something went wrong when we tried to get the contents of the file."

const inputTimeout = 5 * time.Minute

// localInputs returns the URLs in a body that a simulation can fetch: those of this machine. Elsewhere there is nothing that is
// meant for it.
func localInputs(name string, raw json.RawMessage) (urls []string) {
	var members fields
	var list []json.RawMessage
	switch {
	case json.Unmarshal(raw, &members) == nil:
		for member, value := range members {
			urls = append(urls, localInputs(member, value)...)
		}
	case json.Unmarshal(raw, &list) == nil:
		for _, value := range list {
			urls = append(urls, localInputs(name, value)...)
		}
	case name == "callback_url" || name != "url" && !strings.HasSuffix(name, "_url"):
	default:
		var text string
		if json.Unmarshal(raw, &text) == nil && isLocal(text) {
			urls = append(urls, text)
		}
	}
	return urls
}

func isLocal(text string) bool {
	if !isURL(text) {
		return false
	}
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && addr.IsLoopback()
}

// fetch reads an input as Kling does: later than its create call, and whole.
func (s *Server) fetch(input string) error {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, input, http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: inputTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("HTTP %d", res.StatusCode)
	case n == 0:
		return io.ErrUnexpectedEOF
	default:
		return nil
	}
}

// fetchAll fetches inputs and says how a task fails of which one does not come; empty: all have.
func (s *Server) fetchAll(inputs []string) (message string) {
	for _, input := range inputs {
		if err := s.fetch(input); err != nil {
			s.options.Logger.WarnContext(s.ctx, "input does not come", "err", err)
			return unreachableInput
		}
	}
	return ""
}
