package hosting

import (
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// maxCapturePath is how long a destination may be, in bytes: the key of a captured
// file has names, a time and an id after it, and keys have at most 1,024.
const maxCapturePath = 768

// checkCapture refuses a destination that captured requests cannot go to
// (spec §5.1). Whether its bucket is there does not matter yet.
func (c EndpointConfig) checkCapture() error {
	if c.Capture != nil && !strings.HasPrefix(c.Capture.Destination, "s3://") {
		return fault.New(fault.Invalid,
			"DataCaptureConfig.DestinationS3Uri %q is not supported by Slipway: requests are captured into its own "+
				"object store, s3://bucket/prefix.", c.Capture.Destination)
	}
	if c.Capture != nil && len(c.Capture.Destination) > maxCapturePath {
		return fault.New(fault.Invalid,
			"DataCaptureConfig.DestinationS3Uri has %d bytes, and Slipway takes %d at most: the keys of what is captured "+
				"are longer.", len(c.Capture.Destination), maxCapturePath)
	}
	return nil
}

// capture is what the router has to know of a fleet's capture; nil: none of its
// requests is captured.
func (f *Fleet) capture() *traffic.Capture {
	if f.Capture == nil || f.Capture.Percent == 0 || !f.Capture.Input && !f.Capture.Output {
		return nil
	}
	return f.Capture
}
