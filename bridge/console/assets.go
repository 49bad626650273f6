package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"time"
)

//go:embed static
var static embed.FS

// addAssets serves the page and its files: index.html at /, all others below /static/. A browser asks each time whether
// it has changed, because its name does not.
func addAssets(mux *http.ServeMux) {
	err := fs.WalkDir(static, "static", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := static.ReadFile(path)
		if err != nil {
			return err
		}
		pattern := "GET /" + path
		if path == "static/index.html" {
			pattern = "GET /{$}"
		}
		mux.Handle(pattern, asset(path, data))
		return nil
	})
	if err != nil {
		panic(err) // what is embedded can be read
	}
}

func asset(name string, data []byte) http.Handler {
	sum := sha256.Sum256(data)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
	})
}
