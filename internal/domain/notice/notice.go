// Package notice puts what happened to an endpoint into the words that AWS
// sends to EventBridge, so that what listens there can listen here (spec §8).
// Noticing that something happened, and delivering the news, is not its job.
package notice

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// Kind is an event's detail-type.
type Kind string

// The kinds of event that are sent.
const (
	StateChange      Kind = "SageMaker Endpoint State Change"            // the EndpointStatus changed
	DeploymentChange Kind = "SageMaker Endpoint Deployment State Change" // what the fleets are doing changed
)

// Kinds returns every kind of event.
func Kinds() []Kind { return []Kind{StateChange, DeploymentChange} }

// Subscriber is who wants to be told of events.
type Subscriber struct {
	Name  string // of its queue, never empty
	Kinds []Kind // none: every kind
}

// Wants reports whether s wants to be told of events of a kind.
func (s Subscriber) Wants(k Kind) bool { return len(s.Kinds) == 0 || slices.Contains(s.Kinds, k) }

// Notice is an event that is still to be delivered somewhere.
type Notice struct {
	Endpoint string // region/name: what is delivered in order
	Kind     Kind
	At       time.Time
	Body     []byte // JSON, as the receiver gets it
	Attempts int    // deliveries that failed
}

// Subject is what an event tells of: an endpoint as it has become.
type Subject struct {
	ID   string // of the event, chosen by the caller, a UUID
	At   time.Time
	View hosting.View
	Tags []hosting.Tag
}

// Compose returns the event of a kind about s as JSON.
func Compose(k Kind, s Subject) ([]byte, error) {
	v := s.View
	e := envelope{
		Version: "0", ID: s.ID, DetailType: k, Source: "aws.sagemaker", Account: v.Scope.Account,
		Time: s.At.UTC().Format("2006-01-02T15:04:05Z"), Region: v.Scope.Region, Resources: []string{v.ARN()},
		Detail: detail{
			EndpointName: v.Name, EndpointARN: v.ARN(), EndpointConfigName: v.ConfigName,
			EndpointStatus: upperSnake(string(v.Status)), FailureReason: v.FailureReason,
			CreationTime: v.Created.UnixMilli(), LastModifiedTime: v.Modified.UnixMilli(),
			Tags: map[string]string{}, ProductionVariants: []any{},
		},
	}
	for _, t := range s.Tags {
		e.Detail.Tags[t.Key] = t.Value
	}
	if k == StateChange {
		e.Detail.ProductionVariants = brief(v)
	} else {
		e.Detail.ProductionVariants = full(v.Variants)
		e.Detail.PreviousFleetTrouble = v.OldTrouble
		if p := v.Pending; p != nil {
			e.Detail.PendingDeploymentSummary = &pending{p.ConfigName, p.Start.UnixMilli(), full(p.Variants)}
		}
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	return b, nil
}

type envelope struct {
	Version    string   `json:"version"`
	ID         string   `json:"id"`
	DetailType Kind     `json:"detail-type"`
	Source     string   `json:"source"`
	Account    string   `json:"account"`
	Time       string   `json:"time"`
	Region     string   `json:"region"`
	Resources  []string `json:"resources"`
	Detail     detail   `json:"detail"`
}

// detail has its times in milliseconds since 1970.
type detail struct {
	EndpointName             string
	EndpointARN              string `json:"EndpointArn"`
	EndpointConfigName       string
	ProductionVariants       []any
	EndpointStatus           string
	FailureReason            string `json:",omitempty"`
	CreationTime             int64
	LastModifiedTime         int64
	Tags                     map[string]string
	PendingDeploymentSummary *pending `json:",omitempty"`
	PreviousFleetTrouble     string   `json:",omitempty"` // Slipway's own
}

type pending struct {
	EndpointConfigName string
	StartTime          int64
	ProductionVariants []any
}

// variant is all that a DeploymentChange says of one.
type variant struct {
	VariantName          string
	CurrentWeight        number
	DesiredWeight        number
	CurrentInstanceCount int
	DesiredInstanceCount int
	VariantStatus        []status `json:",omitempty"`
}

type status struct {
	Status        string
	StatusMessage string `json:",omitempty"`
	StartTime     int64
}

// number is written as AWS writes floats: with a decimal point.
type number float64

// MarshalJSON writes 1 as 1.0.
func (n number) MarshalJSON() ([]byte, error) {
	s := strconv.FormatFloat(float64(n), 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return []byte(s), nil
}

// brief is what a StateChange says of the variants: of a new endpoint those
// that are coming up.
func brief(v hosting.View) []any {
	vs := v.Variants
	if len(vs) == 0 && v.Pending != nil {
		vs = v.Pending.Variants
	}
	out := []any{}
	for _, v := range vs {
		out = append(out, struct{ DesiredWeight, DesiredInstanceCount number }{
			number(v.DesiredWeight),
			number(v.DesiredCount),
		})
	}
	return out
}

func full(vs []hosting.VariantView) []any {
	out := []any{}
	for _, v := range vs {
		out = append(out, variant{
			VariantName: v.Name, CurrentWeight: number(v.CurrentWeight), DesiredWeight: number(v.DesiredWeight),
			CurrentInstanceCount: v.CurrentCount, DesiredInstanceCount: v.DesiredCount,
			VariantStatus: statuses(v.Statuses),
		})
	}
	return out
}

func statuses(in []rollout.VariantStatus) (out []status) {
	for _, s := range in {
		out = append(out, status{s.Status, s.Message, s.StartTime.UnixMilli()})
	}
	return out
}

// Doing reports whether any fleet of v is doing something that a
// DeploymentChange could tell of.
func Doing(v hosting.View) bool {
	vs := v.Variants
	if v.Pending != nil {
		vs = append(vs[:len(vs):len(vs)], v.Pending.Variants...)
	}
	for _, v := range vs {
		if len(v.Statuses) > 0 {
			return true
		}
	}
	return false
}

// upperSnake writes InService as IN_SERVICE.
func upperSnake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}
