package archive

import (
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// File is one file of a result.
type File struct {
	URL    string // as Kling gave it, to the byte
	Number int    // from 1, in the order of [Files]
	folder string // <kind>/<date>/<id>
	ext    string // when neither URL nor content type tell one
	media  string // what it is announced to be
}

// Files lists the files of a result: videos, images, audios, each followed by its other forms, and the others. Their names in the
// archive, <kind>/<date>/<id>/<n>.<ext>, follow from the event alone, so that copying again makes no second file.
func Files(ev *events.Event) []File {
	if ev.Result == nil {
		return nil
	}
	var date time.Time
	if ev.CompletedAt != nil {
		date = ev.CompletedAt.UTC()
	}
	folder := path.Join(events.Token(ev.Kind), date.Format(time.DateOnly), events.Token(ev.RequestID))
	var files []File
	add := func(url, ext, media string) {
		if url != "" {
			files = append(files, File{URL: url, Number: len(files) + 1, folder: folder, ext: ext, media: media})
		}
	}
	for _, v := range ev.Result.Videos {
		add(v.URL, ".mp4", mediaVideo)
		add(v.WatermarkURL, ".mp4", mediaVideo)
	}
	for _, i := range ev.Result.Images {
		add(i.URL, ".png", mediaImage)
		add(i.WatermarkURL, ".png", mediaImage)
	}
	for _, a := range ev.Result.Audios {
		add(a.URLMP3, ".mp3", mediaAudio)
		add(a.URLWAV, ".wav", mediaAudio)
	}
	for _, f := range ev.Result.Files {
		add(f.URL, ".bin", mediaOther)
	}
	return files
}

// name is where the file goes. The URL decides before the content type, which may differ from one try to the next.
func (f File) name(contentType string) string {
	ext := f.ext
	if known, ok := extensions[contentType]; ok {
		ext = known
	}
	if u, err := url.Parse(f.URL); err == nil {
		if e := strings.ToLower(path.Ext(u.Path)); slices.Contains(mediaExtensions, e) {
			ext = e
		}
	}
	return path.Join(f.folder, strconv.Itoa(f.Number)+ext)
}

// mediaExtensions, with those of subtitles, are those that a URL may name: anything else there is not trusted to name a file of ours.
var mediaExtensions = []string{
	".mp4", ".mov", ".webm", ".m4v", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp3", ".wav", ".m4a", ".aac", ".flac", ".ogg",
	".srt", ".ass", ".vtt",
}

// extensions by content type are fixed here because the machine's own tables differ.
var extensions = map[string]string{
	"video/mp4": ".mp4", "video/quicktime": ".mov", "video/webm": ".webm",
	"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif",
	"audio/mpeg": ".mp3", "audio/wav": ".wav", "audio/x-wav": ".wav", "audio/mp4": ".m4a", "audio/flac": ".flac",
}
