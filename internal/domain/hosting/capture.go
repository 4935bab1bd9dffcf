package hosting

import (
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// checkCapture refuses a destination that captured requests cannot go to
// (spec §5.1). Whether its bucket is there does not matter yet.
func (c EndpointConfig) checkCapture() error {
	if c.Capture != nil && !strings.HasPrefix(c.Capture.Destination, "s3://") {
		return fault.New(fault.Invalid,
			"DataCaptureConfig.DestinationS3Uri %q is not supported by Slipway: requests are captured into its own "+
				"object store, s3://bucket/prefix.", c.Capture.Destination)
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
