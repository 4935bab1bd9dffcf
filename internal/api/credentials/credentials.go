// Package credentials serves what a device asks for before it has anything to
// sign with: temporary credentials for its certificate, as the credentials
// provider of AWS IoT does (edge spec §5.2), and its identity for an enrollment
// token. It turns HTTP into one call down and the answer back; deciding who
// gets what is not its job.
package credentials

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/devicetls"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
)

// Prefix is where the credentials provider is, below a device listener.
const Prefix = "/role-aliases/"

// Sessions issues temporary credentials. access.Sessions is one.
type Sessions interface {
	Issue(x access.Session, now time.Time) (access.Credentials, error)
}

// refusals are what a device is told, by the reason (edge spec §5.2).
var refusals = []struct {
	because error
	answer  awserr.Error
}{
	{identity.ErrCertificate, awserr.Error{
		Code: "AccessDeniedException", Status: http.StatusForbidden, Message: "Certificate is invalid on this endpoint",
	}},
	{identity.ErrThing, awserr.Error{
		Code: "AccessDeniedException", Status: http.StatusForbidden, Message: "Invalid thing name passed",
	}},
	{identity.ErrPolicy, awserr.Error{
		Code: "AccessDeniedException", Status: http.StatusForbidden, Message: "Access Denied",
	}},
	{identity.ErrAlias, awserr.Error{
		Code: "ResourceNotFoundException", Status: http.StatusNotFound, Message: "Role alias does not exist",
	}},
	{identity.ErrRole, awserr.Error{
		Code: "InvalidRequestException", Status: http.StatusBadRequest,
		Message: "Unable to assume the role, or the role to assume does not exist",
	}},
	{identity.ErrDuration, awserr.Error{
		Code: "InvalidRequestException", Status: http.StatusBadRequest,
		Message: "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role",
	}},
}

// thingHeader says which of the things of its certificate a device is.
const thingHeader = "X-Amzn-Iot-Thingname"

// New returns the handler of the credentials provider, for everything below
// Prefix on the device listener, where it knows clients by their certificates.
func New(ids *identity.Service, sessions Sessions, log *slog.Logger) http.Handler {
	return &provider{ids, sessions, log}
}

type provider struct {
	ids      *identity.Service
	sessions Sessions
	log      *slog.Logger
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := awserr.RequestID(w.Header())
	got, thing, err := p.serve(r)
	answer := &awserr.Error{Status: http.StatusOK}
	if err == nil {
		writeJSON(w, got)
	} else {
		answer = answerTo(err)
		awserr.WriteRESTAs(w, "message", answer)
	}
	level, facts := slog.LevelInfo, []slog.Attr{
		slog.String("certificate", devicetls.Client(r)), slog.String("thing", thing),
		slog.Int("status", answer.Status), slog.String("message", answer.Message), slog.String("request_id", id),
	}
	if answer.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		level, facts = slog.LevelError, append(facts, slog.Any("err", err))
	}
	p.log.LogAttrs(r.Context(), level, "credentials asked for", facts...)
}

// reply is what a device gets: its names and their case are those of AWS IoT.
type reply struct {
	Credentials struct {
		AccessKeyID     string `json:"accessKeyId"`
		SecretAccessKey string `json:"secretAccessKey"`
		SessionToken    string `json:"sessionToken"`
		Expiration      string `json:"expiration"`
	} `json:"credentials"`
}

func (p *provider) serve(r *http.Request) (out reply, thing string, err error) {
	alias, ok := aliasIn(r.URL.Path)
	if !ok || r.Method != http.MethodGet {
		return out, "", &awserr.Error{
			Code: "ResourceNotFoundException", Status: http.StatusNotFound,
			Message: "No operation is known here: GET " + Prefix + "<alias>/credentials is.",
		}
	}
	ask := identity.Ask{CertificateID: devicetls.Client(r), Alias: alias}
	switch things := r.Header.Values(thingHeader); len(things) {
	case 0:
	case 1:
		ask.Thing = &things[0]
	default:
		return out, "", identity.ErrThing // which of them it is, is not said
	}
	g, err := p.ids.Assume(r.Context(), ask)
	if err != nil {
		return out, "", err
	}
	now := time.Now()
	c, err := p.sessions.Issue(access.Session{
		Thing: g.Thing, Alias: g.Alias, RoleARN: g.RoleARN, CertificateID: g.CertificateID,
		Account: g.Scope.Account, Region: g.Scope.Region, Expires: now.Add(g.Duration),
	}, now)
	if err != nil {
		return out, g.Thing, err
	}
	to := &out.Credentials
	to.AccessKeyID, to.SecretAccessKey, to.SessionToken = c.AccessKeyID, c.SecretAccessKey, c.SessionToken
	to.Expiration = c.Expiration.UTC().Format("2006-01-02T15:04:05Z")
	return out, g.Thing, nil
}

// aliasIn returns the alias that a path names.
func aliasIn(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, Prefix)
	alias, ok2 := strings.CutSuffix(rest, "/credentials")
	return alias, ok && ok2 && alias != "" && !strings.Contains(alias, "/")
}

// answerTo is the answer to a device for a failure.
func answerTo(err error) *awserr.Error {
	for _, r := range refusals {
		if errors.Is(err, r.because) {
			return &r.answer
		}
	}
	return awserr.Of(awserr.IoT, "", err)
}

// Alive returns whether a device's session still stands, for the gateway to ask of
// every request that a device signed. It answers from memory.
func Alive(ids *identity.Service) func(access.Device) bool {
	return func(d access.Device) bool {
		return ids.Alive(d.CertificateID, cmp.Or(d.Thing, d.CertificateID))
	}
}
