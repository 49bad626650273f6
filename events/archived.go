package events

// Archived is the JSON body of an archived event: where the files of a result were copied to.
type Archived struct {
	RequestID string         `json:"request_id"`
	Kind      string         `json:"kind"`
	Files     []ArchivedFile `json:"files"`           // those that were copied, in the order of the result
	Error     string         `json:"error,omitempty"` // on a failed event: why not all of them were
}

// ArchivedFile is one file of a result in the archive.
type ArchivedFile struct {
	SourceURL   string `json:"source_url"`
	ArchiveURL  string `json:"archive_url"`
	Bytes       int64  `json:"bytes"`
	SHA256      string `json:"sha256"` // in lower-case hex
	ContentType string `json:"content_type"`
}
