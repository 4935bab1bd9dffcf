package hosting

import "time"

// SortBy is what a listing is ordered by.
type SortBy string

// The orders of the API; only endpoints have a status.
const (
	ByName         SortBy = "Name"
	ByCreationTime SortBy = "CreationTime"
	ByStatus       SortBy = "Status"
)

// Filter selects and orders what a List operation returns (spec §2.0.3). Zero
// times and empty strings do not filter.
type Filter struct {
	NameContains   string    // without regard to case
	CreatedFrom    time.Time // inclusive
	CreatedBefore  time.Time // exclusive
	ModifiedAfter  time.Time // exclusive; endpoints only
	ModifiedBefore time.Time // exclusive; endpoints only
	Status         Status    // endpoints only
	SortBy         SortBy    // "" is ByCreationTime
	Ascending      bool
	Limit          int    // page size; 0 is 10
	After          Cursor // where the page before ended
}

// Cursor is the last row of a page: its sort value and its name.
type Cursor struct {
	Value string `json:"v,omitempty"` // a status or a name
	Micro int64  `json:"t,omitempty"` // a creation time
	Name  string `json:"n,omitempty"` // breaks ties; empty: from the start
}

// Summary is one row of a listing.
type Summary struct {
	Name     string
	Created  time.Time
	Modified time.Time // endpoints only
	Status   Status    // endpoints only
}

// Cursor returns where a page that ends with s ended.
func (f Filter) Cursor(s Summary) Cursor {
	switch f.SortBy {
	case ByName:
		return Cursor{Value: s.Name, Name: s.Name}
	case ByStatus:
		return Cursor{Value: string(s.Status), Name: s.Name}
	case ByCreationTime:
	}
	return Cursor{Micro: s.Created.UnixMicro(), Name: s.Name}
}
