package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/enroll"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
	store "github.com/slipway-ml/slipway/internal/platform/store/identity"
)

// The bounds of enrollment tokens.
const (
	minTTL         = time.Minute
	maxTTL         = 30 * 24 * time.Hour
	maxEnrollments = 100_000 // that have not expired, of all regions
)

// Invite makes a token with which a device of a fleet can enroll once, in place
// of any that was made for it before. The device need not be registered.
func (s *Service) Invite(
	ctx context.Context, sc arn.Scope, fleet, device string, ttl time.Duration,
) (t enroll.Token, err error) {
	if ttl < minTTL || ttl > maxTTL {
		return t, fault.New(fault.Invalid, "A token can be good for %s to %d days.", minTTL, maxTTL/(24*time.Hour))
	}
	if s.URL == nil || s.Endpoint() == "" {
		return t, off()
	}
	if _, err := s.fleet(ctx, sc, fleet); err != nil {
		return t, err
	}
	now := time.Now()
	e := trust.Enrollment{
		Scope: sc, ID: rand.Text(), Fleet: fleet, Device: device,
		Expires: now.Add(ttl).UTC().Truncate(time.Microsecond),
	}
	err = s.Store.Change(ctx, func(tx store.Tx) error {
		n, err := tx.CountEnrollments(ctx, now)
		if err == nil && n >= maxEnrollments {
			err = fault.New(fault.Limit, "There are %d tokens that have not expired: no more are made.", n)
		}
		if err != nil {
			return err
		}
		return tx.PutEnrollment(ctx, e)
	})
	return enroll.Token{
		URL: s.URL(), ID: e.ID, Secret: s.secret(e.ID), CA: s.ca.Fingerprint(), Fleet: fleet, Name: device,
		Expires: e.Expires,
	}, err
}

func off() error {
	return fault.New(fault.Unavailable, "Devices cannot enroll: the device listener is off.")
}

// secret returns the secret of the token with that ID. It is derived, so that
// nobody who reads the table of tokens can use one.
func (s *Service) secret(id string) []byte {
	m := hmac.New(sha256.New, s.seed)
	_, _ = m.Write([]byte("enrollment\x00" + id)) // a hash takes everything
	return m.Sum(nil)
}

// Enroll gives a device its identity. A request with which that was done before
// gets the same again, so that a device which lost the reply can ask once more;
// the device's earlier enrollments end.
func (s *Service) Enroll(ctx context.Context, r enroll.Request) (reply enroll.Reply, err error) {
	refused := fault.New(fault.Denied, "The enrollment token is not good: it was used, has expired or was replaced.")
	if !r.Authentic(s.secret(r.ID)) {
		return reply, refused // before the store is asked: only who held a token gets further
	}
	if s.Endpoint() == "" {
		return reply, off()
	}
	key, err := devicetls.ReadCSR(r.CSR)
	if err != nil {
		return reply, err
	}
	issued, err := s.ca.Issue(key)
	if err != nil {
		return reply, err
	}
	digest := sha256.Sum256(r.CSR)
	var m Member
	var c trust.Certificate
	err = s.change(ctx, func(tx store.Tx) error {
		e, ok, err := tx.Enrollment(ctx, s.Account, r.ID)
		switch {
		case err != nil:
			return err
		case !ok || !time.Now().Before(e.Expires):
			return refused
		case e.CSR == "":
			e.CSR = hex.EncodeToString(digest[:])
			m, c, err = s.admit(ctx, tx, e, issued)
			if err != nil {
				return err
			}
			e.CertificateID = c.ID
			return tx.PutEnrollment(ctx, e)
		case e.CSR != hex.EncodeToString(digest[:]):
			return refused
		}
		m, c, err = s.repeat(ctx, tx, e)
		if err == nil && c.Status != trust.Active {
			err = refused
		}
		return err
	})
	if err != nil {
		return reply, err
	}
	return s.reply(ctx, r, m, c)
}

// admit makes everything that a device needs.
func (s *Service) admit(
	ctx context.Context, tx store.Tx, e trust.Enrollment, issued devicetls.Issued,
) (Member, trust.Certificate, error) {
	now := clock.Now()
	c := newCertificate(e.Scope, issued)
	c.Enrolled = true
	// A colon is in no name of a fleet or device: no other device of any fleet
	// gets this thing.
	m, err := register(ctx, tx, e.Scope, e.Fleet, e.Device, e.Fleet+":"+e.Device, now)
	if err != nil {
		return m, c, err
	}
	if _, err := putThing(
		ctx, tx, trust.Thing{Scope: e.Scope, Name: m.Thing, ID: uuid.NewString(), Version: 1, Created: now},
	); err != nil {
		return m, c, err
	}
	if err := endEarlier(ctx, tx, e.Scope, m.Thing, now); err != nil {
		return m, c, err
	}
	policy, err := s.ensurePolicy(ctx, tx, e, m, now)
	if err != nil {
		return m, c, err
	}
	if err := tx.InsertCertificate(ctx, c); err != nil {
		return m, c, err
	}
	if err := attach(ctx, tx, e.Scope, m.Thing, c.ID); err != nil {
		return m, c, err
	}
	return m, c, attachPolicy(ctx, tx, e.Scope, policy, c.ID)
}

// endEarlier detaches the certificates that a thing got by enrolling before,
// and deletes them: a device has one identity of that kind.
func endEarlier(ctx context.Context, tx store.Tx, sc arn.Scope, thing string, now time.Time) error {
	ids, err := tx.CertificatesOfThing(ctx, sc, thing, "", trust.MaxPrincipals)
	if err != nil {
		return err
	}
	for _, id := range ids {
		c, err := tx.Certificate(ctx, sc, id)
		if err != nil {
			return err
		}
		if !c.Enrolled {
			continue
		}
		if err := tx.DetachThing(ctx, sc, id, thing); err != nil {
			return err
		}
		if err := tx.SetCertificateStatus(ctx, id, trust.Inactive, now); err != nil {
			return err
		}
	}
	return nil
}

// ensurePolicy makes the role alias of a fleet and the policy that allows its
// use, and returns the policy's name.
func (s *Service) ensurePolicy(
	ctx context.Context, tx store.Tx, e trust.Enrollment, m Member, now time.Time,
) (string, error) {
	alias := edge.AliasName(e.Fleet)
	role := m.role
	if role == "" {
		role = "arn:" + arn.Partition(e.Scope.Region) + ":iam::" + e.Scope.Account + ":role/SlipwayDevices"
	}
	if _, err := tx.InsertRoleAlias(ctx, trust.RoleAlias{
		Scope: e.Scope, Name: alias, RoleARN: role, Duration: trust.DefaultDuration, Fleet: true, Created: now,
		Modified: now,
	}); err != nil {
		return "", err
	}
	document, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": map[string]string{
			"Effect": "Allow", "Action": trust.AssumeRole, "Resource": trust.AliasARN(e.Scope, alias),
		},
	})
	if err != nil {
		return "", fmt.Errorf("write a policy: %w", err)
	}
	p := trust.Policy{Scope: e.Scope, Name: alias, Document: string(document), Created: now}
	if _, err := tx.InsertPolicy(ctx, p); err != nil {
		return "", err
	}
	_, err = tx.Policy(ctx, e.Scope, p.Name) // locks it: it must not be deleted meanwhile
	return p.Name, err
}

// repeat returns what an enrollment that was used has got.
func (s *Service) repeat(
	ctx context.Context, tx store.Tx, e trust.Enrollment,
) (m Member, c trust.Certificate, err error) {
	if c, err = tx.Certificate(ctx, e.Scope, e.CertificateID); err != nil {
		return m, c, err
	}
	things, err := tx.ThingsOf(ctx, c.ID, "", 1)
	m = Member{Fleet: e.Fleet, Device: e.Device}
	if len(things) > 0 {
		m.Thing = things[0]
	}
	return m, c, err
}

// reply says to a device what it got.
func (s *Service) reply(
	ctx context.Context, r enroll.Request, m Member, c trust.Certificate,
) (reply enroll.Reply, err error) {
	at := "https://" + s.Endpoint()
	reply = enroll.Reply{
		Certificate: c.PEM, Chain: s.ca.PEM(), SigningRoots: map[string]string{},
		Config: map[string]string{
			"sagemaker_edge_core_device_name":       m.Device,
			"sagemaker_edge_core_device_fleet_name": m.Fleet,
			"sagemaker_edge_core_iot_thing_name":    m.Thing,
			"sagemaker_edge_core_region":            c.Scope.Region,
			"sagemaker_edge_core_endpoint_override": at,
			"sagemaker_edge_provider_provider":      "Aws",
			"sagemaker_edge_provider_aws_iot_cred_endpoint": at + "/role-aliases/" + edge.AliasName(m.Fleet) +
				"/credentials",
		},
	}
	f, err := s.fleet(ctx, c.Scope, m.Fleet)
	if err != nil {
		return reply, err
	}
	// Where the devices of the fleet put what they capture.
	if place, ok := strings.CutPrefix(f.Output.S3Location, "s3://"); ok {
		bucket, prefix, _ := strings.Cut(place, "/")
		reply.Config["sagemaker_edge_provider_s3_bucket_name"] = bucket
		reply.Config["sagemaker_edge_core_folder_prefix"] = strings.Trim(prefix, "/")
	}
	if s.SigningRoots != nil {
		if reply.SigningRoots, err = s.SigningRoots(ctx); err != nil {
			return reply, fmt.Errorf("read the signing roots: %w", err)
		}
	}
	return reply, reply.Sign(s.secret(r.ID), r)
}
