package packaging

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
)

// SortBy is what a listing of jobs is ordered by.
type SortBy string

// The orders; only packaging jobs have a model's name.
const (
	ByName      SortBy = "name"
	ByModelName SortBy = "model_name"
	ByCreated   SortBy = "created"
	ByModified  SortBy = "modified"
	ByStatus    SortBy = "status"
)

// Filter selects and orders what a List operation returns (spec §1.6). Zero
// times and empty strings do not filter; bounds of time are exclusive, and
// substrings are looked for with regard to case.
type Filter struct {
	Kind                          Kind
	NameContains                  string
	ModelNameContains             string
	Status                        Status
	CreatedAfter, CreatedBefore   time.Time
	ModifiedAfter, ModifiedBefore time.Time
	SortBy                        SortBy
	Descending                    bool
	Limit                         int    // page size
	After                         Cursor // where the page before ended
}

// Cursor is the last row of a page: its sort value and its name.
type Cursor struct {
	Text  string `json:"v,omitempty"` // a status or a name
	Micro int64  `json:"t,omitempty"` // a time
	Name  string `json:"n"`           // breaks ties; empty: from the start
}

// Cursor returns where a page that ends with j ended.
func (f Filter) Cursor(j *Job) Cursor {
	c := Cursor{Name: j.Name}
	switch f.SortBy {
	case ByName:
		c.Text = j.Name
	case ByModelName:
		c.Text = j.ModelName()
	case ByStatus:
		c.Text = string(j.State.Status)
	case ByModified:
		c.Micro = j.State.Modified.UnixMicro()
	case ByCreated:
		c.Micro = j.State.Created.UnixMicro()
	}
	return c
}

// ModelName returns the name of the model of a packaging job, or "".
func (j *Job) ModelName() string {
	if j.Pack == nil {
		return ""
	}
	return j.Pack.ModelName
}

// Resource names a job by its kind of ARN, for tags: ok is false for other
// kinds of resource.
func Resource(kind string) (k Kind, ok bool) {
	switch kind {
	case arn.KindCompilationJob:
		return Compilation, true
	case arn.KindEdgePackagingJob:
		return Packaging, true
	}
	return "", false
}
