package klingtest

import (
	"net/http"
	"strconv"
	"time"
)

// costsInterval is how often GET /account/costs may be asked (Kling's account page, 2026-10).
const costsInterval = time.Second

// pack is a resource pack of the account.
type pack struct {
	Name      string  `json:"resource_pack_name"`
	ID        string  `json:"resource_pack_id"`
	Type      string  `json:"resource_pack_type"`
	Total     float64 `json:"total_quantity"`
	Remaining float64 `json:"remaining_quantity"`
	Purchased int64   `json:"purchase_time"`
	Effective int64   `json:"effective_time"`
	Invalid   int64   `json:"invalid_time"`
	Status    string  `json:"status"`
}

type costs struct {
	Code  int    `json:"code"`
	Msg   string `json:"msg"`
	Packs []pack `json:"resource_pack_subscribe_infos"`
}

// queryCosts answers with one pack that never ends, at most once a second.
func (s *Server) queryCosts(r *http.Request, c call) (Fault, func() reply) {
	for _, name := range []string{"start_time", "end_time"} {
		if _, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64); err != nil {
			s.violate("GET %s: %s is missing or no integer", costsPath, name)
			return refuse(&refusal{1201, name + " is required"})
		}
	}
	if !s.costsAllowed() {
		s.violate("GET %s: more than once a second", costsPath)
		return refuse(&refusal{code: 1302})
	}
	now := s.options.Now()
	infos := costs{Msg: "success", Packs: []pack{{
		Name: "Simulated pack", ID: "simulated", Type: "decreasing_total", Total: 5000, Remaining: 5000,
		Purchased: now.UnixMilli(), Effective: now.UnixMilli(), Invalid: now.AddDate(0, 6, 0).UnixMilli(), Status: "online",
	}}}
	return s.queryFault(QueryView{Route: c.route}), func() reply { return accept(infos) }
}

func (s *Server) costsAllowed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.options.Now()
	if !s.costsAt.IsZero() && now.Sub(s.costsAt) < costsInterval {
		return false
	}
	s.costsAt = now
	return true
}
