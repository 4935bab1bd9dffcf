package identity

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/trust"
)

// The reasons why credentials are refused (edge spec §5.2), in the order in
// which they are looked at.
var (
	ErrCertificate = errors.New("the certificate is unknown or not active")
	ErrThing       = errors.New("the thing is unknown or not attached")
	ErrPolicy      = errors.New("no policy allows it")
	ErrAlias       = errors.New("the role alias does not exist")
	ErrRole        = errors.New("the role cannot be assumed")
	ErrDuration    = errors.New("the credentials would last too long")
)

// Ask is a device's request for credentials.
type Ask struct {
	CertificateID string // of the certificate whose key it has shown to have
	Alias         string
	Thing         *string // nil: it names none
}

// Grant is what a device gets a session for.
type Grant struct {
	Scope         arn.Scope
	Thing         string // the certificate's ID if it acts for none
	Alias         string
	RoleARN       string
	CertificateID string
	Duration      time.Duration
}

// maxRole bounds the ARN of a role, in bytes: a session token holds it.
const maxRole = 512

var rolePattern = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[a-zA-Z_0-9+=,.@/-]+$`)

// Assume decides what the holder of a certificate gets. The region is the
// certificate's. Roles are not looked up: any that has the form of one can be
// assumed.
func (s *Service) Assume(ctx context.Context, a Ask) (g Grant, err error) {
	h, ok, err := s.Store.Holder(ctx, s.Account, a.CertificateID)
	if err != nil {
		return g, err
	}
	if !ok || h.Status != trust.Active || time.Now().After(h.NotAfter) {
		return g, ErrCertificate
	}
	g = Grant{Scope: h.Scope, Alias: a.Alias, CertificateID: h.ID, Thing: h.ID}
	switch {
	case a.Thing != nil:
		if !slices.Contains(h.Things, *a.Thing) {
			return g, ErrThing
		}
		g.Thing = *a.Thing
	case len(h.Things) == 1:
		g.Thing = h.Things[0]
	}
	var documents []trust.Document
	for _, text := range h.Policies {
		d, err := trust.ParsePolicy(text)
		if err != nil {
			return g, err // it was read when it was created
		}
		documents = append(documents, d)
	}
	if !trust.Allowed(documents, trust.AssumeRole, trust.AliasARN(h.Scope, a.Alias)) {
		return g, ErrPolicy
	}
	alias, err := s.Store.RoleAlias(ctx, h.Scope, a.Alias)
	switch {
	case errors.Is(err, fault.NotFound):
		return g, ErrAlias
	case err != nil:
		return g, err
	case len(alias.RoleARN) > maxRole || !rolePattern.MatchString(alias.RoleARN):
		return g, ErrRole
	case alias.Duration > s.MaxSession:
		return g, ErrDuration
	}
	g.RoleARN, g.Duration = alias.RoleARN, alias.Duration
	return g, nil
}
