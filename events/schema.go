package events

import (
	_ "embed" // the documents below
	"slices"
)

var (
	//go:embed schema/event.schema.json
	eventSchema []byte
	//go:embed schema/request.schema.json
	requestSchema []byte
	//go:embed schema/archived.schema.json
	archivedSchema []byte
	//go:embed schema/api.schema.json
	apiSchema []byte
)

// SchemaURL begins the names of the schemas. What they are called is also the last part of their address.
const SchemaURL = "https://raw.githubusercontent.com/klingbridge/klingbridge/main/events/schema/"

// The names of the schemas of events, as [HeaderCEDataSchema] has them.
const (
	EventSchemaURL    = SchemaURL + "event.schema.json"
	ArchivedSchemaURL = SchemaURL + "archived.schema.json"
)

// APISchemaURL is the name of the schema of answers, and of questions: under $defs each has the name of its [Endpoint] and
// .question.
const APISchemaURL = SchemaURL + "api.schema.json"

// EventSchema returns the JSON Schema (draft 2020-12) of [Event]; that of an event's headers is under $defs.
func EventSchema() []byte { return slices.Clone(eventSchema) }

// RequestSchema returns the JSON Schema (draft 2020-12) of a request's body; those of the headers of requests and dead
// letters are under $defs. It refers to that of [EventSchema] by the name event.schema.json.
func RequestSchema() []byte { return slices.Clone(requestSchema) }

// ArchivedSchema returns the JSON Schema (draft 2020-12) of [Archived].
func ArchivedSchema() []byte { return slices.Clone(archivedSchema) }

// APISchema returns the JSON Schema (draft 2020-12) of what a bridge answers; under $defs each answer has the name of its
// [Endpoint]. It refers to that of [EventSchema] by the name event.schema.json.
func APISchema() []byte { return slices.Clone(apiSchema) }
