package rollout

import (
	"fmt"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
)

// DefaultTimeout bounds a deployment whose policy sets no
// MaximumExecutionTimeoutInSeconds (spec §4.6).
const DefaultTimeout = 28800 * time.Second

// glance is the bake of a step that has none while alarms are watched: just
// long enough that the alarms are read once after the traffic moved (spec
// §4.7), not with the facts that moved it.
const glance = time.Millisecond

// recount is how often the requests are counted that a bake is lacking:
// nobody asks again for each of them.
const recount = time.Second

// SizeType says what the value of a Size counts.
type SizeType string

// The words of the API.
const (
	InstanceCount   SizeType = "INSTANCE_COUNT"
	CapacityPercent SizeType = "CAPACITY_PERCENT"
)

// Size is a part of a fleet, the API's CapacitySize. The zero Size is absent.
type Size struct {
	Type  SizeType `json:"type,omitempty"`
	Value int      `json:"value,omitempty"`
}

// Of returns how many of n instances z is: percent are rounded down, so that
// the requested share is never exceeded, but one instance is the least (spec
// §4.2).
func (z Size) Of(n int) int {
	part := z.Value
	if z.Type == CapacityPercent {
		part = min(z.Value, 100) * n / 100
	}
	return min(n, max(1, part))
}

// Policy is a DeploymentConfig in the domain's terms.
type Policy struct {
	Strategy                 Strategy      `json:"strategy"`
	CanarySize               Size          `json:"canarySize,omitzero"`
	LinearStepSize           Size          `json:"linearStepSize,omitzero"`
	MaximumBatchSize         Size          `json:"maximumBatchSize,omitzero"`
	RollbackMaximumBatchSize Size          `json:"rollbackMaximumBatchSize,omitzero"` // absent: everything at once
	WaitInterval             time.Duration `json:"waitInterval,omitempty"`
	TerminationWait          time.Duration `json:"terminationWait,omitempty"`
	MaximumExecutionTimeout  time.Duration `json:"maximumExecutionTimeout,omitempty"` // 0: DefaultTimeout
	Alarms                   []string      `json:"alarms,omitempty"`
	// MinimumRequests is how many requests the new fleet must answer after a
	// step's traffic moved before the step's bake may end, however long that
	// takes: the timeout bounds it. 0: the wait alone decides. It is our own;
	// the API has no such thing.
	MinimumRequests int `json:"minimumRequests,omitempty"`
	// Gates compare the new fleet with the old one. Like MinimumRequests they are
	// our own, and belong to the new configuration and the server rather than to
	// the policy that was asked for: see Plan.With.
	Gates []gate.Gate `json:"gates,omitempty"`
}

// Variant holds the instance counts of one variant before and after. Old is 0
// if only the new configuration has it, New is 0 if only the old one has.
type Variant struct {
	Name string `json:"name"`
	Old  int    `json:"old"`
	New  int    `json:"new"`
}

// Plan is what was asked for, judged and fixed when the deployment begins. It
// is plain data: a stored Plan needs no NewPlan to be used again.
type Plan struct {
	Kind     Kind      `json:"kind"`
	Policy   Policy    `json:"policy"`
	Variants []Variant `json:"variants"`
}

// NewPlan judges a policy against the fleets (spec §4.2, §4.7). Only an Update
// follows a policy; nil, and any other kind, means all at once without bake or
// alarms. Errors are fault.Invalid.
func NewPlan(kind Kind, policy *Policy, variants []Variant) (Plan, error) {
	p := Plan{Kind: kind, Policy: Policy{Strategy: AllAtOnce}, Variants: variants}
	if len(variants) == 0 {
		return Plan{}, fault.New(fault.Invalid, "At least one production variant is required.")
	}
	for _, v := range variants {
		if v.Old < 0 || v.New < 0 {
			return Plan{}, fault.New(fault.Invalid, "The instance count of production variant %q must not be negative.",
				v.Name)
		}
	}
	if policy != nil && kind == Update {
		p.Policy = *policy
		if err := p.Policy.Check(); err != nil {
			return Plan{}, err
		}
		if err := p.check(); err != nil {
			return Plan{}, err
		}
	}
	if p.Policy.MaximumExecutionTimeout == 0 {
		p.Policy.MaximumExecutionTimeout = DefaultTimeout
	}
	if wait := p.TotalWait(); p.Policy.MaximumExecutionTimeout <= wait {
		return Plan{}, fault.New(fault.Invalid,
			"MaximumExecutionTimeoutInSeconds (%s) must be larger than the total wait of the deployment (%s seconds).",
			seconds(p.Policy.MaximumExecutionTimeout), seconds(wait))
	}
	return p, nil
}

// limit is the range of a Size in percent of the fleet it is a part of.
type limit struct {
	name     string
	size     Size
	min, max int
}

func (l limit) String() string {
	if l.min == 0 {
		return fmt.Sprintf("at most %d%%", l.max)
	}
	return fmt.Sprintf("between %d%% and %d%%", l.min, l.max)
}

// limit returns what bounds the steps of c. AllAtOnce has no steps to bound.
func (c Policy) limit() (limit, bool) {
	switch c.Strategy {
	case Canary:
		return limit{"CanarySize", c.CanarySize, 0, 50}, true
	case Linear:
		return limit{"LinearStepSize", c.LinearStepSize, 10, 50}, true
	case Rolling:
		return limit{"MaximumBatchSize", c.MaximumBatchSize, 5, 50}, true
	case AllAtOnce:
	}
	return limit{}, false
}

// StepSize returns the size of the first step as the policy gives it, and the
// API's name of it. AllAtOnce has none: then the name is "".
func (c Policy) StepSize() (name string, z Size) {
	l, _ := c.limit()
	return l.name, l.size
}

// Check judges what can be judged without knowing the fleets: that the size of
// the strategy is there, and its range if it is given in percent. It is all
// that CreateEndpoint asks of a policy (spec §4.2). Sizes of other strategies
// are ignored. Errors are fault.Invalid.
func (c Policy) Check() error {
	l, sized := c.limit()
	switch {
	case c.MinimumRequests < 0:
		return fault.New(fault.Invalid, "The minimum of requests must not be negative.")
	case !sized && c.Strategy == AllAtOnce:
		return nil
	case !sized:
		return fault.New(fault.Invalid, "Unknown deployment strategy %q.", string(c.Strategy))
	case l.size.Value <= 0:
		return fault.New(fault.Invalid, "%s is required for a deployment of type %s.", l.name, string(c.Strategy))
	case l.size.Type == CapacityPercent && (l.size.Value < l.min || l.size.Value > l.max):
		return fault.New(fault.Invalid, "%s must be %s of the capacity, not %d%%.", l.name, l, l.size.Value)
	case l.size.Type != CapacityPercent && l.size.Type != InstanceCount:
		return fault.New(fault.Invalid, "The type of %s must be INSTANCE_COUNT or CAPACITY_PERCENT.", l.name)
	}
	return nil
}

// check refuses an explicit policy that does not suit the fleets.
func (p Plan) check() error {
	if p.Policy.Strategy == Rolling && len(p.Variants) > 1 {
		return fault.New(fault.Invalid,
			"RollingUpdatePolicy is not supported for endpoints with more than one production variant.")
	}
	l, sized := p.Policy.limit()
	for _, v := range p.Variants {
		if v.Old == 0 || v.New == 0 {
			return fault.New(fault.Invalid,
				"With a deployment policy the new endpoint configuration must contain the same production variants "+
					"as the current one, but only one of them contains %q.", v.Name)
		}
		if of := l.size.Value * 100; sized && l.size.Type == InstanceCount && (of < l.min*v.New || of > l.max*v.New) {
			return fault.New(fault.Invalid,
				"%s of %d instance(s) must be %s of the %d instance(s) of production variant %q.",
				l.name, l.size.Value, l, v.New, v.Name)
		}
	}
	return nil
}

// Steps returns in how many steps traffic moves: k of spec §4.4. Variants step
// together; one that has no instance left to move waits for the others.
func (p Plan) Steps() int {
	if p.Policy.Strategy == AllAtOnce {
		return p.lead() + 1
	}
	if p.Policy.Strategy == Canary {
		return p.lead() + 2
	}
	l, _ := p.Policy.limit()
	k := 1
	for _, v := range p.Variants {
		if size := l.size.Of(v.New); size > 0 {
			k = max(k, (v.New+size-1)/size)
		}
	}
	return p.lead() + k
}

// Wait returns how long step i bakes and the name of what governs it, the API's
// but for a step of copies alone. The last step of blue/green is followed by the termination wait, every other
// one by the wait interval (spec §4.4).
func (p Plan) Wait(i int) (time.Duration, string) {
	if p.Mirrored(i) {
		return gate.FirstOf(p.Policy.Gates), "first"
	}
	if p.Policy.Strategy == Rolling || i < p.Steps()-1 {
		return p.Policy.WaitInterval, "WaitIntervalInSeconds"
	}
	return p.Policy.TerminationWait, "TerminationWaitInSeconds"
}

// TotalWait returns the sum of all bakes.
func (p Plan) TotalWait() (total time.Duration) {
	for i := range p.Steps() {
		wait, _ := p.Wait(i)
		total += wait
	}
	return total
}

// Warmup bounds how long after each step nothing is compared that a cold fleet does
// slower: at most a fifth of the shortest bake in which both fleets answer requests,
// if there is one.
func (p Plan) Warmup(wanted time.Duration) time.Duration {
	for i := range p.Steps() {
		last := p.Policy.Strategy != Rolling && i == p.Steps()-1
		if wait, _ := p.Wait(i); wait > 0 && !last && !p.Mirrored(i) {
			wanted = min(wanted, wait/5)
		}
	}
	return wanted
}

// green returns how many new instances of v take traffic once step i moved.
func (p Plan) green(v Variant, i int) int {
	if i -= p.lead(); i < 0 {
		return 0
	}
	switch p.Policy.Strategy {
	case Canary:
		if i == 0 {
			return p.Policy.CanarySize.Of(v.New)
		}
	case Linear:
		return min(v.New, (i+1)*p.Policy.LinearStepSize.Of(v.New))
	case Rolling:
		return min(v.New, (i+1)*p.Policy.MaximumBatchSize.Of(v.New))
	case AllAtOnce:
	}
	return v.New
}

// rollbackBatch returns how many old instances of v a rollback launches at a
// time; v.Old when it does not go in batches.
func (p Plan) rollbackBatch(v Variant) int {
	if p.Policy.RollbackMaximumBatchSize.Value <= 0 {
		return v.Old
	}
	return p.Policy.RollbackMaximumBatchSize.Of(v.Old)
}

// bake is the Wait of the step that s is at, but never nothing while alarms
// are watched or requests counted. Once promoted, alarms alone are waited for.
func (p Plan) bake(s State) time.Duration {
	wait, _ := p.Wait(s.Step)
	if s.Promoted {
		wait = 0
	}
	if len(p.Policy.Alarms) > 0 || p.Policy.MinimumRequests > 0 && !s.Promoted {
		return max(wait, glance)
	}
	return wait
}

// baked is when the bake that s is in has lasted long enough.
func (p Plan) baked(s State) time.Time { return s.baking().Add(p.bake(s) + s.Held) }

// lacking reports whether the bake of s must go on for want of requests or of a
// proof.
func (p Plan) lacking(s State, f Facts) bool { return p.few(s, f) || len(p.holding(s, f)) > 0 }

// few reports whether the bake of s must go on for want of requests. Copies are
// none.
func (p Plan) few(s State, f Facts) bool {
	return !s.Promoted && !p.Mirrored(s.Step) && f.GreenRequests-s.Requests < int64(p.Policy.MinimumRequests)
}

// carry returns how many of n instances keep traffic when moved of total were
// taken over elsewhere: rounded up, so that no instance carries more than it
// does in a whole fleet (spec §4.3).
func carry(n, moved, total int) int {
	if total == 0 {
		return 0
	}
	return (n*(total-moved) + total - 1) / total
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}
