// Package archiver copies the files of results to the archive, beside the flow: it reads completions as any user could.
//
// It owns the consumer of results. A slow archive delays no completion.
package archiver
