// Package capture keeps what applications want kept of their inferences
// (CaptureData, spec §7.5): on the disk, on the disk and from time to time in
// the cloud, or in the cloud at once. It promises that Capture never waits,
// that everything it holds is bounded and what does not fit is counted, that a
// file on the disk is whole or absent after a power cut, and that an event's
// status says SUCCESS only when the event is where it was to go. Status is
// kept in memory: after a restart no identifier is known. Speaking gRPC and S3
// is not its job.
//
// What the servers of the socket need of it is
//
//	Capture(ctx context.Context, r capture.Request) error
//	Status(id string) capture.Status
//
// where Capture fails with ErrDuplicate, ErrFull, ErrFuture, ErrOffline or a
// fault.Invalid.
package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Request is one inference to keep. The pipeline keeps its slices: they must
// not change any more, so that what lies in shared memory is copied first.
type Request struct {
	ModelName    string // as the application calls the model
	ModelVersion string
	ID           string    // 1 to 128 of A-Z a-z 0-9 : _ . -
	Time         time.Time // of the inference; not in the future
	Inputs       []tensor.Tensor
	Outputs      []tensor.Tensor
	AuxInputs    []Auxiliary
	AuxOutputs   []Auxiliary
}

// Auxiliary is data beside the tensors: an image as it was taken, a label.
type Auxiliary struct {
	Name     string // its content type by custom: jpg, json
	Encoding Encoding
	Data     []byte
}

// Encoding says what auxiliary data is.
type Encoding string

// The encodings of spec §7.1. Data under None may be anything; what is not
// text is embedded as BASE64.
const (
	CSV    Encoding = "CSV"
	JSON   Encoding = "JSON"
	None   Encoding = "NONE"
	Base64 Encoding = "BASE64"
)

// Status is how far a captured event has come.
type Status uint8

// The statuses, numbered as in spec §7.1.
const (
	Failure Status = iota
	Success
	InProgress
	NotFound
)

// What Capture refuses an event for, besides a fault.Invalid. Each has its
// status in the Edge Manager contract.
var (
	ErrDuplicate = errors.New("the capture id is in use already")                 // ALREADY_EXISTS
	ErrFull      = errors.New("the capture buffer is full")                       // RESOURCE_EXHAUSTED
	ErrFuture    = errors.New("the time of the inference lies in the future")     // OUT_OF_RANGE
	ErrOffline   = errors.New("there is no network and captures go to the cloud") // FAILED_PRECONDITION
)

// Cloud is where captures are uploaded to.
type Cloud interface {
	// Put stores size bytes of body as the object key in the bucket of the
	// configuration. It may read body again from its start.
	Put(ctx context.Context, key string, body io.ReadSeeker, size int64) error
	// Online tells, from memory, whether the cloud could be reached lately.
	Online() bool
}

// Destination is where captures go.
type Destination string

// The destinations of the agent's configuration.
const (
	ToDisk  Destination = "Disk"
	ToCloud Destination = "Cloud"
)

// Config says where captures go and how much is held.
type Config struct {
	Fleet, Device string // of this device
	Destination   Destination
	Bucket        string // of the Cloud; only named in references
	Prefix        string // first part of every key and path; may be empty
	DiskPath      string // absolute; below it lies Prefix; for ToDisk

	BufferSize   int           // events that wait, at most
	BufferBytes  int64         // of their data
	BatchSize    int           // events that are flushed together; less than BufferSize
	PushPeriod   time.Duration // after which fewer are flushed too
	EmbedLimit   int           // bytes of a tensor that is still embedded, 1 to 3072
	Upload       bool          // upload what is on the disk and remove it there
	UploadPeriod time.Duration // how often
	PutTimeout   time.Duration // of one upload
	DiskQuota    int64         // bytes below DiskPath/Prefix, in blocks; the oldest events go first
	Statuses     int           // capture ids that are remembered
}

// MaxEmbed is the most that EmbedLimit may be (spec §7.3).
const MaxEmbed = 3072

// Default returns the configuration of an agent whose file says nothing; Fleet,
// Device and DiskPath are the caller's to fill in.
func Default() Config {
	return Config{
		Destination: ToDisk, BufferSize: 30, BufferBytes: 32 << 20, BatchSize: 10, PushPeriod: 4 * time.Second,
		EmbedLimit: MaxEmbed, UploadPeriod: 8 * time.Second, PutTimeout: time.Minute, DiskQuota: 512 << 20,
		Statuses: 10_000,
	}
}

// Validate reports every fault of the configuration at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Destination != ToDisk && c.Destination != ToCloud, "captures go to Disk or Cloud, not to %q", c.Destination)
	bad(!segment.MatchString(c.Fleet), "the fleet %q can't be part of a path", c.Fleet)
	bad(c.Device == "", "the device needs a name")
	bad(c.Destination == ToDisk && !filepath.IsAbs(c.DiskPath),
		"the path for captures must be absolute, not %q", c.DiskPath)
	bad(strconv.Quote(c.DiskPath+c.Prefix) != `"`+c.DiskPath+c.Prefix+`"`,
		"the path and the prefix for captures must be plain text")
	bad((c.Destination == ToCloud || c.Upload) && c.Bucket == "", "captures can't be uploaded without a bucket")
	bad(c.Prefix != "" && !filepath.IsLocal(c.Prefix), "the prefix %q can't be part of a path", c.Prefix)
	bad(c.BufferSize < 1 || c.BufferSize > 1<<20,
		"the capture buffer must hold 1 to %d events, not %d", 1<<20, c.BufferSize)
	bad(c.BufferBytes < 1, "the capture buffer must hold a byte")
	bad(c.BatchSize < 1 || c.BatchSize > 1 && c.BatchSize >= c.BufferSize,
		"the batch must be smaller than the capture buffer of %d events, not %d", c.BufferSize, c.BatchSize)
	bad(c.PushPeriod <= 0, "the push period must be longer than nothing")
	bad(c.EmbedLimit < 1 || c.EmbedLimit > MaxEmbed,
		"the embed limit must be 1 to %d bytes, not %d", MaxEmbed, c.EmbedLimit)
	bad(c.Upload && c.UploadPeriod <= 0, "the upload period must be longer than nothing")
	bad(c.PutTimeout <= 0, "an upload must be given time")
	bad(c.DiskQuota < blockSize, "the disk quota must be at least %d bytes", blockSize)
	bad(c.Statuses < c.BufferSize, "as many statuses must be kept as events wait, %d", c.BufferSize)
	return errors.Join(errs...)
}

var (
	segment = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}$`)
	idShape = regexp.MustCompile(`^[A-Za-z0-9:_.-]{1,128}$`)
)

// Stats counts events since the start.
type Stats struct {
	Captured  int64 // are where they were to go
	Refused   int64 // did not fit into the buffer
	Failed    int64 // could not be written or uploaded
	Deleted   int64 // made room on the disk
	Uploaded  int64 // came from the disk to the cloud
	DiskBytes int64 // what lies on the disk, in blocks
}
