package chaos_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

const (
	// attackers post at a time, as fast as they are answered, and stallers never finish what they send.
	attackers = 32
	stallers  = 400
	// maxResident is what the program may take of memory under attack, with its embedded server.
	maxResident = 200 << 20
)

// assault is one kind of bad request, and the answer the contract gives.
type assault struct {
	name   string
	method string
	path   string
	body   []byte
	want   int
}

// assaults are what a stranger may try, and what somebody may who knows the URL of a task.
func (w *world) assaults(task klingtest.TaskView) []assault {
	w.t.Helper()
	u, err := url.Parse(task.CallbackURL)
	if err != nil {
		w.t.Fatal(err)
	}
	right, end := u.Path, []byte(`{"task_id":"`+task.ID+`","task_status":"succeed","task_result":{"videos":[{"id":"1","url":"https://h.example/1.mp4"}]}}`)
	parts := strings.Split(right, "/") // "", callbacks, kind, token, signature
	signature := parts[4]
	post := func(name, path string, body []byte, want int) assault {
		return assault{name, http.MethodPost, path, body, want}
	}
	return []assault{
		post("no signature", "/callbacks/text2video/"+parts[3], end, 404),
		post("wrong signature", right[:len(right)-4]+"AAAA", end, 404),
		post("another request", "/callbacks/"+parts[2]+"/nobody/"+signature, end, 404),
		post("another kind", "/callbacks/image2video/"+parts[3]+"/"+signature, end, 404), // than any victim's
		post("path tricks", "/callbacks/text2video/../text2video/"+parts[3]+"/"+signature, end, 404),
		post("encoded path", "/callbacks/text2video/"+parts[3]+"%2f"+signature, end, 404),
		post("a subject as token", "/callbacks/text2video/kling.completion.>/"+signature, end, 404),
		post("large body to nobody", "/callbacks/text2video/x/y", bytes.Repeat([]byte("x"), 256<<10), 404),
		post("adoption is off", "/callbacks/text2video", end, 404),
		{"health, as a load balancer asks", http.MethodGet, "/healthz", nil, 200},
		{"readiness is elsewhere", http.MethodGet, "/readyz", nil, 404},
		{"another method", http.MethodGet, right, nil, 405},
		post("not JSON", right, []byte("succeed"), 400),
		post("not an object", right, []byte(`["succeed"]`), 400),
		post("not UTF-8", right, []byte("{\"task_id\":\"\xff\xfe\"}"), 400),
		post("deep", right, []byte(strings.Repeat(`{"data":`, 20_000)), 400),
		post("deep lists", right, []byte(`{"data":`+strings.Repeat("[", 200_000)), 400),
		post("too large", right, bytes.Repeat([]byte(" "), 300<<10), 413),
		post("another task", right, []byte(`{"task_id":"1","task_status":"succeed"}`), 409),
		post("another external id", right, []byte(`{"external_task_id":"x","task_status":"succeed"}`), 409),
		post("a huge number as id", right, []byte(`{"task_id":1e999999,"task_status":"succeed"}`), 409),
	}
}

// attack floods the program with bad requests while it has callbacks to take, and looks at every answer.
func (w *world) attack(length time.Duration) {
	w.t.Helper()
	const genuine = 20
	w.ask(genuine, fatePlain)
	w.eventually("every request is a task", func() bool {
		return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0
	})
	tasks := w.sim.Tasks()
	victim := slices.IndexFunc(tasks, func(t klingtest.TaskView) bool { return t.Kind.Name != "image2video" })
	tasks[0], tasks[victim] = tasks[victim], tasks[0]
	ctx, cancel := context.WithTimeout(w.ctx, length)
	defer cancel()
	var attack sync.WaitGroup
	var made atomic.Int64
	for range stallers {
		attack.Go(func() { w.stall(ctx, tasks[0]) })
	}
	for i := range attackers {
		attack.Go(func() {
			list := w.assaults(tasks[0])
			for n := i; ctx.Err() == nil; n++ {
				w.assault(ctx, list[n%len(list)])
				made.Add(1)
			}
		})
	}
	for _, task := range tasks[1:] {
		w.wait(length / genuine)
		if err := w.sim.Finish(task.ID); err != nil {
			w.t.Fatal(err)
		}
	}
	attack.Wait()
	if err := w.sim.Finish(tasks[0].ID); err != nil {
		w.t.Fatal(err)
	}
	resident := w.replicas[0].mostResident()
	w.t.Logf("%d bad requests in %s, at most %d MB resident", made.Load(), length, resident>>20)
	if resident > maxResident {
		w.t.Errorf("%d MB resident under attack, want at most %d", resident>>20, maxResident>>20)
	}
}

// assault makes one bad request.
func (w *world) assault(ctx context.Context, a assault) {
	req, err := http.NewRequestWithContext(ctx, a.method, "http://"+w.replicas[0].callback, bytes.NewReader(a.body))
	if err != nil {
		w.t.Error(err)
		return
	}
	req.URL.Opaque = "//" + w.replicas[0].callback + a.path // as it is, not cleaned
	req.Header["X-Evil"] = []string{"Nats-Msg-Id: forged", "Kling-Status: succeed"}
	client := http.Client{Transport: w.phone.transport, Timeout: 2 * answerTime}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return // refused in the middle of its body, or the attack is over
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body) // what was not read is not judged
	switch {
	case resp.StatusCode != a.want:
		w.t.Errorf("%s: got %d, want %d", a.name, resp.StatusCode, a.want)
	case time.Since(began) > answerTime:
		w.t.Errorf("%s: answered after %s", a.name, time.Since(began))
	case len(answer) > 64 || resp.Header.Get("Server") != "":
		w.t.Errorf("%s: the answer says too much: %q", a.name, answer)
	}
}

// stall opens connections that send a byte now and then and never come to an end.
func (w *world) stall(ctx context.Context, task klingtest.TaskView) {
	u, err := url.Parse(task.CallbackURL)
	if err != nil {
		w.t.Error(err)
		return
	}
	for ctx.Err() == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.replicas[0].callback)
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		_, err = io.WriteString(conn, "POST "+u.Path+" HTTP/1.1\r\nHost: b\r\nContent-Length: 262144\r\n\r\n{")
		for err == nil {
			w.wait(tick)
			_, err = io.WriteString(conn, " ")
		}
		stop()
		_ = conn.Close() // it is closed already when the program or we gave up
	}
}

// mostResident is the most memory the process has had at a time, in bytes, as Linux says.
func (r *replica) mostResident() int { return r.memory("VmHWM:") }

// resident is the memory the process has now.
func (r *replica) resident() int { return r.memory("VmRSS:") }

func (r *replica) memory(field string) int {
	r.w.t.Helper()
	r.mu.Lock()
	pid := r.cmd.Process.Pid
	r.mu.Unlock()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		r.w.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == field {
			kb, err := strconv.Atoi(fields[1])
			if err != nil {
				r.w.t.Fatal(err)
			}
			return kb << 10
		}
	}
	r.w.t.Fatalf("no %s in %s", field, status)
	return 0
}
