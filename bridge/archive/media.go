package archive

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// What a file is announced to be, by its place in the result.
const (
	mediaVideo = "video"
	mediaImage = "image"
	mediaAudio = "audio"
	mediaOther = "" // subtitles, which are text, and whatever a solution makes
)

// headLength is how much of a file is looked at: what [http.DetectContentType] goes by.
const headLength = 512

// checkMedia returns why a file that begins with head is not what it is announced to be: servers and what stands before
// them answer 200 with a page that says what is wrong. The bytes decide, for a wrong content type costs no result. Only
// of bytes that tell nothing the content type is believed.
func checkMedia(media string, head []byte, contentType string) error {
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")) // a byte order mark hides a page from the library
	found, _, _ := strings.Cut(http.DetectContentType(head), ";")
	if media == mediaOther {
		if isPage(found) || isPage(contentType) || beginsAsPage(head) {
			return fmt.Errorf("answered with a page (%s) in place of a file", contentType)
		}
		return nil
	}
	known := found != unknownType
	if known && !isOf(media, found) || !known && (isPage(contentType) || isText(contentType)) {
		return fmt.Errorf("answered with what is no %s: its content type is %s, its first bytes are %s", media, contentType, found)
	}
	return nil
}

// isOf knows the types that the library finds. It calls audio in a container of video by the container.
func isOf(media, found string) bool {
	switch found {
	case "application/ogg", "video/mp4", "video/webm":
		return media != mediaImage
	default:
		return strings.HasPrefix(found, media+"/")
	}
}

func isText(contentType string) bool { return strings.HasPrefix(contentType, "text/") }

// isPage reports whether a type is that of HTML, XML or JSON.
func isPage(contentType string) bool {
	_, sub, _ := strings.Cut(contentType, "/")
	switch sub {
	case "html", "xml", "json":
		return true
	default:
		return strings.HasSuffix(sub, "+xml") || strings.HasSuffix(sub, "+json")
	}
}

// beginsAsPage finds XML without a declaration, and JSON. No subtitles begin so.
func beginsAsPage(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	return bytes.HasPrefix(head, []byte("<")) || bytes.HasPrefix(head, []byte("{"))
}
