package klingtest

import (
	"strconv"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// forgotten returns what is left of a task that an earlier simulation made, if queries are to end such tasks and the id is
// one that it could have given out; else nil.
func (s *Server) forgotten(id string, kind kling.Kind) *task {
	n, err := strconv.ParseInt(id, 10, 64)
	if !s.options.EndForgotten || s.options.Seed != 0 || err != nil || n >= s.firstID {
		return nil
	}
	now := s.options.Now()
	created := time.UnixMilli((n - firstID) / idPerMilli)
	if now.Sub(created) > taskHistory {
		return nil
	}
	return &task{TaskView: TaskView{
		ID: id, Kind: kind, Status: StatusFailed, Message: "the simulation that made this task has ended",
		CreatedAt: created, UpdatedAt: now, EndedAt: now,
	}}
}
