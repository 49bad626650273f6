package kling

import (
	"fmt"
	"regexp"
	"strings"
)

// Pool is one of Kling's concurrency pools. Tasks of one pool share its slots.
type Pool string

// The pools.
const (
	PoolVideo Pool = "video"
	PoolImage Pool = "image" // a task takes as many slots as it makes images (field n)
	PoolTryOn Pool = "try-on"
)

// Generation is one of the API generations that run side by side on the same host. Each has a query surface of its own.
type Generation string

// The generations. Kling's own rule to tell the first two apart: a model in the path is the newer one.
const (
	V1        Generation = "v1"        // flat bodies, GET <path>/{id}, "succeed"
	V2        Generation = "v2"        // settings and options, GET /tasks, "succeeded"
	Solutions Generation = "solutions" // bodies as in V2 but no model in the path, GET /solutions (Kling's solution pages, 2026-09)
)

// Generations returns every generation.
func Generations() []Generation { return []Generation{V1, V2, Solutions} }

// NestsOptions reports whether callback_url and external_task_id go into the body's options rather than beside them.
func (g Generation) NestsOptions() bool { return g != V1 }

// Kind is one sort of task.
type Kind struct {
	Name       string     // a subject token
	Path       string     // of the create call; V2: with {model} where the model goes
	Generation Generation // of the API
	Pool       Pool
}

const modelSegment = "{model}"

// ReservedName is what no kind can be called: in the URLs of callbacks it stands where a kind does and means the bridge
// itself.
const ReservedName = "self-test"

// CreatePath returns the path of the create call. The model is used by V2 kinds only.
func (k Kind) CreatePath(model string) string {
	return strings.ReplaceAll(k.Path, modelSegment, model)
}

// Kinds is the table of kinds, in the order of their documentation.
type Kinds struct {
	rows   []Kind
	byName map[string]Kind
}

// DefaultKinds returns every kind Kling documents (its API reference as of 2026-10).
func DefaultKinds() Kinds {
	var rows []Kind
	add := func(g Generation, p Pool, path string, names ...string) {
		for _, name := range names {
			rows = append(rows, Kind{Name: name, Path: strings.ReplaceAll(path, "{kind}", name), Generation: g, Pool: p})
		}
	}
	add(V1, PoolVideo, "/v1/videos/{kind}",
		"text2video", "image2video", "video-extend", "lip-sync", "effects",
		"advanced-lip-sync", "multi-image2video", "multi-elements")
	add(V1, PoolVideo, "/v1/videos/omni-video", "omni-video-v1")
	add(V1, PoolVideo, "/v1/videos/motion-control", "motion-control-v1")
	add(V1, PoolVideo, "/v1/videos/avatar/image2video", "avatar")
	add(V1, PoolVideo, "/v1/audio/{kind}", "text-to-audio", "video-to-audio")
	add(V1, PoolVideo, "/v1/general/{kind}", "custom-voices", "advanced-custom-elements")
	add(V1, PoolImage, "/v1/images/generations", "image-generations")
	add(V1, PoolImage, "/v1/images/{kind}", "omni-image", "multi-image2image")
	add(V1, PoolImage, "/v1/images/editing/expand", "image-expand")
	add(V1, PoolImage, "/v1/general/ai-multi-shot", "ai-multi-shot")
	add(V1, PoolTryOn, "/v1/images/kolors-virtual-try-on", "kolors-virtual-try-on")
	add(V2, PoolVideo, "/{kind}/{model}", "text-to-video", "image-to-video", "omni-video", "motion-control")
	add(Solutions, PoolTryOn, "/solutions/virtual_try_on", "virtual-try-on")
	add(Solutions, PoolVideo, "/solutions/drama_subtitle", "drama-subtitle")
	add(Solutions, PoolVideo, "/solutions/e-commerce/clothing_dupe", "clothing-dupe")
	return newKinds(rows)
}

func newKinds(rows []Kind) Kinds {
	byName := make(map[string]Kind, len(rows))
	for _, k := range rows {
		byName[k.Name] = k
	}
	return Kinds{rows: rows, byName: byName}
}

// All returns every kind.
func (ks Kinds) All() []Kind { return append([]Kind(nil), ks.rows...) }

// Lookup returns the kind of that name.
func (ks Kinds) Lookup(name string) (Kind, bool) {
	k, ok := ks.byName[name]
	return k, ok
}

// Pools returns every pool that has a kind, in table order.
func (ks Kinds) Pools() []Pool {
	var pools []Pool
	seen := map[Pool]bool{}
	for _, k := range ks.rows {
		if !seen[k.Pool] {
			seen[k.Pool] = true
			pools = append(pools, k.Pool)
		}
	}
	return pools
}

var (
	kindName  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	poolName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	extraPath = regexp.MustCompile(`^(/(\{model\}|[A-Za-z0-9._~-]+))+$`)
)

// With returns the table with rows added from a list such as
//
//	name=/v1/videos/new-thing:video,name2=/new-route/{model}:image,name3=/solutions/x:video
//
// The generation follows from the path: /v1/… is V1, one with {model} V2, /solutions/… Solutions; any other path is an
// error. A name that is already in the table replaces that row.
func (ks Kinds) With(list string) (Kinds, error) {
	rows := ks.All()
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		k, err := parseKind(item)
		if err != nil {
			return Kinds{}, err
		}
		rows = replaceOrAppend(rows, k)
	}
	return newKinds(rows), nil
}

func replaceOrAppend(rows []Kind, k Kind) []Kind {
	for i := range rows {
		if rows[i].Name == k.Name {
			rows[i] = k
			return rows
		}
	}
	return append(rows, k)
}

func parseKind(item string) (Kind, error) {
	name, rest, _ := strings.Cut(item, "=")
	i := strings.LastIndex(rest, ":")
	if i < 0 {
		return Kind{}, fmt.Errorf("kind %q: want name=/path:pool", item)
	}
	k := Kind{Name: name, Path: rest[:i], Pool: Pool(rest[i+1:])}
	k.Generation = generationOf(k.Path)
	switch {
	case k.Name == ReservedName:
		return Kind{}, fmt.Errorf("kind %q: the name %s is reserved", item, ReservedName)
	case !kindName.MatchString(k.Name):
		return Kind{}, fmt.Errorf("kind %q: the name wants 1 to 64 of a-z, 0-9, _ and -", item)
	case !extraPath.MatchString(k.Path) || strings.Contains(k.Path, "/../") || strings.HasSuffix(k.Path, "/.."):
		return Kind{}, fmt.Errorf("kind %q: %q is no path of a create call", item, k.Path)
	case k.Generation == "":
		return Kind{}, fmt.Errorf("kind %q: the path %s begins with neither /v1/ nor /solutions/ and has no %s", item, k.Path, modelSegment)
	case !poolName.MatchString(string(k.Pool)):
		return Kind{}, fmt.Errorf("kind %q: the pool wants 1 to 32 of a-z, 0-9 and -", item)
	default:
		return k, nil
	}
}

// generationOf tells the generation of a create path; empty: it is none of Kling's.
func generationOf(path string) Generation {
	switch {
	case strings.Contains(path, modelSegment):
		return V2
	case strings.HasPrefix(path, "/v1/"):
		return V1
	case strings.HasPrefix(path, "/solutions/"):
		return Solutions
	default:
		return ""
	}
}
