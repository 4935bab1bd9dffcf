package metric

// Stored is a series as it is kept: whose it is, and chunks of it.
type Stored struct {
	Region string
	Metric ID
	Unit   Unit
	Chunks []Chunk
	Anew   bool // they are all that there is, whatever is kept
}
