package device

import (
	"context"
	"crypto/sha1" //nolint:gosec // an identity of bytes, as the API has it; the signature is the proof
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// obtain takes the next step towards having the package of model i on the disk,
// verified.
func (d *Device) obtain(ctx context.Context, i int) {
	m := d.state.Job.Models[i]
	if d.downloaded(&m) {
		manifest, err := d.inspect(ctx, m.Package)
		switch {
		case err == nil:
			if err := d.checkWanted(&manifest); err != nil {
				d.failModel(ctx, i, err.Error())
				return
			}
			d.remember(i, manifest)
			d.workAt = d.clock
		case ctx.Err() != nil:
		default:
			d.cfg.Log.WarnContext(ctx, "a package on the disk is damaged and fetched again", "package", m.Package,
				"err", err)
			d.work.refetch[m.Package] = true
		}
		return
	}
	whole, err := d.slice(ctx, i)
	switch {
	case err != nil && ctx.Err() != nil: // being stopped
	case err != nil:
		d.attemptFailed(ctx, i, err)
	case whole:
		d.unpack(ctx, i)
	}
}

// inspect verifies an unpacked package, without what was learnt since: what
// served once may serve again.
func (d *Device) inspect(ctx context.Context, id depot.ID) (bundle.Manifest, error) {
	files, _, err := d.depot.Package(id)
	if err != nil {
		return bundle.Manifest{}, err
	}
	v := *d.cfg.Verifier
	v.Trust = bundle.Trust{}
	return v.Check(ctx, files)
}

// checkWanted refuses packages that are older than what this device learnt, or for
// another one.
func (d *Device) checkWanted(m *bundle.Manifest) error {
	if err := d.state.Trust.Check(m); err != nil {
		return err
	}
	return d.cfg.Machine.checkFits(m.Metadata)
}

// permanent is a failure that trying again does not mend.
type permanent struct{ error }

func (h permanent) Unwrap() error { return h.error }

// slice downloads a piece of the package of model i, and says whether it was
// the last one. What it got is safe, and noted, when it returns.
func (d *Device) slice(ctx context.Context, i int) (whole bool, err error) {
	m := d.state.Job.Models[i]
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Settings.SliceTime)
	defer cancel()
	body, size, etag, err := d.cfg.Cloud.Fetch(ctx, m.URL, m.Offset)
	if err == nil && (etag != m.ETag && m.Offset > 0 || size < m.Offset) {
		_ = body.Close() // it is of another object
		err = fault.New(fault.Conflict, "the package changed while it was downloaded")
	}
	if err != nil {
		if errors.Is(err, fault.Conflict) && m.Offset > 0 {
			if err := d.edit(ctx, i, func(m *depot.Model) { m.Offset, m.ETag = 0, "" }); err != nil {
				return false, permanent{err}
			}
		}
		return false, err
	}
	defer func() { _ = body.Close() }() // it was only read
	if size <= 0 {
		return false, errors.New("the server does not say how large the package is")
	}
	if err := d.checkSpace(ctx, i, size); err != nil {
		return false, permanent{err}
	}
	got, readErr, err := d.writePart(m, body, min(size-m.Offset, d.cfg.Settings.Slice))
	if err != nil {
		return false, permanent{fmt.Errorf("the download could not be written: %w", err)}
	}
	at := m.Offset + got
	if at == size {
		return true, nil
	}
	if got > 0 {
		err := d.edit(ctx, i, func(m *depot.Model) {
			m.Offset, m.ETag = at, etag
			if at > m.Best {
				m.Best, m.Tries = at, 0
				d.workFails = 0
			}
		})
		if err != nil {
			return false, permanent{err}
		}
	}
	switch {
	case got == 0 && readErr == nil:
		readErr = io.ErrUnexpectedEOF
	case got > 0 && ctx.Err() != nil:
		readErr = nil // slow, but it comes
	}
	return false, readErr
}

// writePart writes up to n bytes of a download to the disk and makes them safe.
// readErr is the network's, err the disk's.
func (d *Device) writePart(m depot.Model, body io.Reader, n int64) (got int64, readErr, err error) {
	part, err := d.depot.Part(m.Package, m.Offset)
	if err != nil {
		return 0, nil, err
	}
	buf := make([]byte, min(n, 64<<10))
	for got < n && readErr == nil && err == nil {
		var k int
		k, readErr = body.Read(buf[:min(int64(len(buf)), n-got)])
		if k > 0 {
			_, err = part.Write(buf[:k])
			got += int64(k)
		}
	}
	if err == nil && got > 0 {
		err = part.Sync()
	}
	err = errors.Join(err, part.Close())
	if got == n || errors.Is(readErr, io.EOF) {
		readErr = nil
	}
	return got, readErr, err
}

// checkSpace refuses a package of size bytes if it, and what it unpacks to, do
// not fit onto the disk. Packages kept for going back are removed first.
func (d *Device) checkSpace(ctx context.Context, i int, size int64) error {
	m := &d.state.Job.Models[i]
	need := uint64(size-m.Offset) + uint64(size)*uint64(d.cfg.Settings.Growth) + d.cfg.Settings.Reserve
	if d.depot.Free() >= need || d.freePrevious(ctx, need) {
		return nil
	}
	return fmt.Errorf("%w: the package needs %d bytes, %d are free", depot.ErrNoRoom, need, d.depot.Free())
}

// freePrevious removes packages that served before the present ones, and says
// whether that was enough.
func (d *Device) freePrevious(ctx context.Context, need uint64) bool {
	next, any := d.state.Clone(), false
	for i := range next.Handles {
		h := &next.Handles[i]
		any = any || h.Previous != "" || h.Held != ""
		h.Previous, h.Held = "", ""
	}
	next.Handles = withCurrent(next.Handles)
	if !any || d.setAndSave(ctx, next) != nil {
		return false
	}
	d.cfg.Log.InfoContext(ctx, "packages of the past made room on the disk", "need", need)
	d.collect(ctx)
	return d.depot.Free() >= need
}

func withCurrent(hs []depot.Handle) []depot.Handle {
	kept := hs[:0]
	for _, h := range hs {
		if h.Current != "" {
			kept = append(kept, h)
		}
	}
	return kept
}

// attemptFailed counts a failed download, and gives up after too many.
func (d *Device) attemptFailed(ctx context.Context, i int, err error) {
	m := &d.state.Job.Models[i]
	var no permanent
	switch {
	case errors.As(err, &no):
		if d.unsaved && !disk.Full(err) {
			return // the disk comes first
		}
		reason := no.Error()
		if disk.Full(err) || errors.Is(err, depot.ErrNoRoom) {
			reason = "the disk is full: " + reason
		}
		_ = d.depot.DropPart(m.Package) // Collect tries again
		d.failModel(ctx, i, reason)
		return
	case m.Tries+1 >= d.cfg.Settings.Tries:
		d.failModel(ctx, i, fmt.Sprintf("the package could not be downloaded in %d attempts: %v", m.Tries+1, err))
		return
	}
	next := d.state.Clone()
	next.Job.Models[i].Tries++
	d.state = next // saved with the next change; a restart may try more often
	d.workAt = d.clock + d.backoff(&d.workFails)
	// A refusal will hardly change; a connection that was cut is told if the next is, too.
	refused := errors.Is(err, fault.NotFound) || errors.Is(err, fault.Denied) || errors.Is(err, fault.Invalid)
	if refused || m.Tries > 0 {
		d.troubled(next.Job.Name, "download",
			fmt.Sprintf("%s: the package could not be downloaded, and is tried again: %v", m.Handle, err))
	}
	d.cfg.Log.WarnContext(ctx, "download interrupted", "handle", m.Handle, "offset", m.Offset, "err", err)
}

// unpack verifies a whole download: digest, signature, manifest, target, and
// every file. Only then the package has a place on the disk.
func (d *Device) unpack(ctx context.Context, i int) {
	m := d.state.Job.Models[i]
	sum, err := d.digest(ctx, m.Package)
	if err == nil && sum != string(m.Package) {
		d.mismatch(ctx, i, sum)
		return
	}
	var manifest bundle.Manifest
	if err == nil {
		manifest, err = d.head(ctx, m.Package)
	}
	if err == nil {
		err = d.checkWanted(&manifest)
	}
	if err == nil {
		err = d.install(ctx, m.Package)
	}
	switch {
	case ctx.Err() != nil: // being stopped
	case err != nil:
		reason := err.Error()
		if _, refused := errors.AsType[*bundle.Error](err); !refused &&
			(disk.Full(err) || errors.Is(err, depot.ErrNoRoom)) {
			reason = "the disk is full: " + reason
		}
		_ = d.depot.DropPart(m.Package) // Collect tries again
		d.failModel(ctx, i, reason)
	default:
		delete(d.work.refetch, m.Package)
		d.remember(i, manifest)
		d.workAt = d.clock
	}
}

// mismatch throws a download away that is not the bytes that were asked for.
// The first time it may be the network's fault, or a power cut's.
func (d *Device) mismatch(ctx context.Context, i int, sum string) {
	m := d.state.Job.Models[i]
	if m.Mismatches > 0 {
		d.failModel(ctx, i, fmt.Sprintf("checksum mismatch: the package has SHA-1 %s, not %s", sum, m.Package))
		return
	}
	err := d.edit(ctx, i, func(m *depot.Model) { m.Mismatches, m.Offset, m.ETag = 1, 0, "" })
	d.workAt = d.clock + d.backoff(&d.workFails)
	if err == nil {
		_ = d.depot.DropPart(m.Package) // it is written anew anyway
	}
}

func (d *Device) digest(ctx context.Context, id depot.ID) (string, error) {
	part, err := d.depot.OpenPart(id)
	if err != nil {
		return "", err
	}
	defer func() { _ = part.Close() }() // it was only read
	h := sha1.New()
	if _, err := io.Copy(h, untrusted.NewReader(ctx, part)); err != nil {
		return "", fmt.Errorf("read the download: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (d *Device) head(ctx context.Context, id depot.ID) (bundle.Manifest, error) {
	part, err := d.depot.OpenPart(id)
	if err != nil {
		return bundle.Manifest{}, err
	}
	defer func() { _ = part.Close() }() // it was only read
	v := *d.cfg.Verifier
	v.Trust = d.state.Trust
	return v.Head(ctx, part)
}

func (d *Device) install(ctx context.Context, id depot.ID) error {
	part, err := d.depot.OpenPart(id)
	if err != nil {
		return err
	}
	defer func() { _ = part.Close() }() // it was only read
	stage, err := d.depot.Stage(id, d.cfg.Settings.Reserve)
	if err != nil {
		return err
	}
	v := *d.cfg.Verifier
	v.Trust = d.state.Trust
	if _, err = v.Unpack(ctx, part, stage); err == nil {
		err = stage.Install()
	}
	if err != nil {
		return errors.Join(err, stage.Drop())
	}
	_ = d.depot.DropPart(id) // Collect tries again
	return nil
}
