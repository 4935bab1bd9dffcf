package app

import (
	"path/filepath"

	"github.com/slipway-ml/slipway/internal/service/capture"
)

// buildCapture has requests captured into the object store.
func (a *App) buildCapture() (err error) {
	c := a.cfg.Capture
	a.capture, err = capture.New(capture.Config{
		Dir: filepath.Join(a.cfg.DataDir, "capture"), Objects: a.objects, Route: a.router.Route,
		SpoolBytes: c.SpoolBytes, StopAt: c.StopAtDiskPercent, ResumeBelow: c.ResumeBelowDiskPercent,
		Registerer: a.registry, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.router.Listen("capture", a.capture)
	return nil
}
