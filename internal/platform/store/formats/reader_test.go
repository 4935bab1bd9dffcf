package formats

import (
	"database/sql"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/alarms"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	endpoints "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/platform/store/jobs"
	"github.com/slipway-ml/slipway/internal/platform/store/metrics"
)

const account = "123456789012"

var (
	regions = []arn.Scope{{Region: "us-east-1", Account: account}, {Region: "eu-west-1", Account: account}}
	// later is after all leases and due times of the filled databases.
	later = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// reader reads a whole database through what the store offers to services.
type reader struct {
	t   *testing.T
	db  *store.DB
	raw *sql.DB // for the names of what is there
}

// section is what was read of one aggregate, by sentences.
type section map[string]any

// hostingDB reads what belongs to hosting.
func (r *reader) hostingDB() *endpoints.DB { return endpoints.New(r.db) }

// everything reads every aggregate. Queues come last: reading them leases.
func (r *reader) everything() map[string]section {
	return map[string]section{
		"hosting": r.hosting(), "record": r.record(), "alarms": r.alarms(), "samples": r.samples(), "edge": r.edge(),
		"plans":    r.plans(),
		"identity": r.identity(), "jobs": r.jobs(), "tags": r.tags(), "queues": r.queues(),
	}
}

// must fails the test on an error and returns what was read, made plain.
func (r *reader) must(v any, err error) any {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	return plain(v)
}

// names reads one column of identifiers, beside the store.
func (r *reader) names(query string) (out []string) {
	r.t.Helper()
	rows, err := r.raw.QueryContext(r.t.Context(), query)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// change reads inside a transaction.
func (r *reader) change(f func(tx *store.Tx) (any, error)) any {
	r.t.Helper()
	var out any
	err := r.db.Change(r.t.Context(), func(tx *store.Tx) (err error) {
		out, err = f(tx)
		return err
	})
	return r.must(out, err)
}

func (r *reader) hosting() section {
	ctx, s := r.t.Context(), section{}
	all := hosting.Filter{SortBy: hosting.ByName, Ascending: true, Limit: 100}
	for _, scope := range regions {
		models, _, err := r.hostingDB().ListModels(ctx, scope, all)
		s["models of "+scope.Region] = r.must(models, err)
		for _, m := range models {
			m, err := r.hostingDB().Model(ctx, scope, m.Name)
			s["model "+m.Name+" of "+scope.Region] = r.must(m, err)
		}
		configs, _, err := r.hostingDB().ListEndpointConfigs(ctx, scope, all)
		s["configs of "+scope.Region] = r.must(configs, err)
		for _, c := range configs {
			c, err := r.hostingDB().EndpointConfig(ctx, scope, c.Name)
			s["config "+c.Name] = r.must(c, err)
		}
		endpoints, _, err := r.hostingDB().ListEndpoints(ctx, scope, all)
		s["endpoints of "+scope.Region] = r.must(endpoints, err)
		for _, e := range endpoints {
			view, instances, err := r.hostingDB().EndpointView(ctx, scope, e.Name)
			s["endpoint "+e.Name] = r.must(view, err)
			s["instances of "+e.Name] = r.must(instances, err)
		}
	}
	instances, err := r.hostingDB().InstancesSince(ctx, 0)
	s["instances"] = r.must(instances, err)
	routes, err := r.hostingDB().RoutesSince(ctx, 0)
	s["routes"] = r.must(routes, err)
	return s
}

func (r *reader) record() section {
	ctx, s := r.t.Context(), section{}
	for _, name := range r.names(`select distinct name from deployment order by name`) {
		ds, _, err := r.hostingDB().Deployments(ctx, regions[0], name, record.Page{Limit: 100})
		s["deployments of "+name] = r.must(ds, err)
	}
	for _, id := range r.names(`select id from deployment`) {
		d, err := r.hostingDB().Deployment(ctx, regions[0], hosting.DeploymentID(id))
		s["deployment "+id] = r.must(d, err)
	}
	return s
}

func (r *reader) alarms() section {
	ctx, s, db := r.t.Context(), section{}, alarms.New(r.db)
	all, err := db.Alarms(ctx)
	s["alarms"] = r.must(all, err)
	for _, a := range all {
		s["alarm "+a.Definition.Name] = r.change(func(tx *store.Tx) (any, error) {
			return alarms.In(tx).Alarm(ctx, a.Region, a.Definition.Name)
		})
	}
	history, _, err := db.History(ctx,
		alarm.HistoryFilter{Region: regions[0].Region, Ascending: true, Limit: 1000})
	s["history"] = r.must(history, err)
	return s
}

// samples reads the series, restores them as a server does, and asks each for
// statistics of the hour of its samples.
func (r *reader) samples() section {
	s := section{}
	err := metrics.New(r.db).Samples(r.t.Context(), func(st metric.Stored) error {
		var series metric.Series
		if err := series.Restore(st.Chunks); err != nil {
			return err
		}
		key := st.Region + " " + st.Metric.Namespace + " " + st.Metric.Name + " " + string(st.Unit)
		for _, d := range st.Metric.Dimensions {
			key += " " + d.Name + "=" + d.Value
		}
		start := time.Unix(st.Chunks[0].Start, 0).UTC().Truncate(24 * time.Hour)
		out := map[string]any{"stored": plain(st)}
		for _, name := range []string{"SampleCount", "Sum", "Minimum", "Maximum", "p50"} {
			stat, err := metric.ParseStat(name)
			if err != nil {
				return err
			}
			out[name] = plain(series.Points(metric.Window{Start: start, Period: 24 * time.Hour, Count: 2}, stat))
		}
		s[key] = out
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *reader) edgeDB() edgestore.DB {
	r.t.Helper()
	db, err := edgestore.New(r.t.Context(), r.db)
	if err != nil {
		r.t.Fatal(err)
	}
	return db
}

func (r *reader) edge() section {
	ctx, s, db := r.t.Context(), section{}, r.edgeDB()
	fleets, _, err := db.ListFleets(ctx, regions[0], edge.FleetFilter{SortBy: edge.ByPlainName, Ascending: true})
	s["fleets"] = r.must(fleets, err)
	for _, f := range fleets {
		f, err := db.Fleet(ctx, regions[0], f.Name)
		s["fleet "+f.Name] = r.must(f, err)
		devices, _, err := db.ListDevices(ctx, regions[0], edge.DeviceFilter{Fleet: f.Name})
		s["devices of "+f.Name] = r.must(devices, err)
		for _, d := range devices {
			polled, err := db.Poll(ctx, regions[0], f.Name, d.Name)
			s["poll of "+d.Name+" of "+f.Name] = r.must(polled, err)
		}
		objects, err := db.FleetObjects(ctx, regions[0], f.Name)
		s["objects of "+f.Name] = r.must(objects, err)
		rivals, err := db.Rivals(ctx, f.ID, &edge.Plan{Models: []edge.ModelConfig{{Handle: "digits-open"}}})
		s["rivals in "+f.Name] = r.must(rivals, err)
	}
	return s
}

func (r *reader) plans() section {
	ctx, s, db := r.t.Context(), section{}, r.edgeDB()
	plans, _, err := db.ListPlans(ctx, regions[0], edge.PlanFilter{SortBy: edge.ByPlainName, Ascending: true})
	s["plans"] = r.must(plans, err)
	for _, p := range plans {
		p, err := db.Plan(ctx, regions[0], p.Name)
		s["plan "+p.Name] = r.must(p, err)
		events, err := db.PlanEvents(ctx, p)
		s["events of "+p.Name] = r.must(events, err)
		for _, st := range p.Stages {
			devices, _, err := db.StageDevices(ctx, p, st, edge.RowFilter{})
			s["devices of "+st.Name+" of "+p.Name] = r.must(devices, err)
			for _, d := range devices {
				before, err := db.Before(ctx, d.DeviceID, p.ID)
				s["what "+d.Device+" had before "+p.Name] = r.must(before, err)
			}
		}
	}
	return s
}

func (r *reader) identity() section {
	ctx, s, db := r.t.Context(), section{}, identity.New(r.db)
	ca, found, err := db.DeviceCA(ctx)
	s["authority"] = r.must([]any{ca, found}, err)
	changes, err := db.CertificateChanges(ctx, 0, 100)
	s["certificate changes"] = r.must(changes, err)
	for _, id := range r.names(`select id from certificate where gone = 0 order by version`) {
		c, err := db.Certificate(ctx, regions[0], id)
		s["certificate "+id] = r.must(c, err)
		things, err := db.ThingsOf(ctx, id, "", 100)
		s["things of "+id] = r.must(things, err)
		holder, found, err := db.Holder(ctx, account, id)
		s["holder of "+id] = r.must([]any{holder, found}, err)
	}
	things, err := db.Things(ctx, regions[0], trust.ThingFilter{Limit: 100})
	s["things"] = r.must(things, err)
	for _, name := range r.names(`select name from thing_type`) {
		x, err := db.ThingType(ctx, regions[0], name)
		s["thing type "+name] = r.must(x, err)
	}
	for _, name := range r.names(`select name from device_policy`) {
		x, err := db.Policy(ctx, regions[0], name)
		s["policy "+name] = r.must(x, err)
	}
	for _, name := range r.names(`select name from role_alias`) {
		x, err := db.RoleAlias(ctx, regions[0], name)
		s["role alias "+name] = r.must(x, err)
	}
	for _, id := range r.names(`select id from enrollment`) {
		s["enrollment "+id] = r.change(func(tx *store.Tx) (any, error) {
			e, found, err := identity.In(tx).Enrollment(ctx, account, id)
			return []any{e, found}, err
		})
	}
	return s
}

func (r *reader) jobs() section {
	ctx, s, db := r.t.Context(), section{}, jobs.New(r.db)
	for _, kind := range []packaging.Kind{packaging.Compilation, packaging.Packaging} {
		for _, name := range r.names(`select name from job where kind = '` + string(kind) + `'`) {
			j, err := db.Job(ctx, kind, regions[0], name)
			s[string(kind)+" "+name] = r.must(j, err)
		}
	}
	floor, err := db.Floor(ctx, regions[0], "digits")
	s["floor of digits"] = r.must(floor, err)
	roots, err := db.SigningRoots(ctx)
	s["signing roots"] = r.must(roots, err)
	keys, err := db.SigningKeys(ctx)
	s["signing keys"] = r.must(keys, err)
	return s
}

func (r *reader) tags() section {
	s := section{}
	for _, resource := range r.names(`select distinct resource from tag`) {
		tags, err := r.db.Tags(r.t.Context(), resource)
		s[resource] = r.must(tags, err)
	}
	return s
}

// queues reads what is due in each queue, in the order of claims, and delivers
// every event of the webhook.
func (r *reader) queues() section {
	ctx, s := r.t.Context(), section{}
	s["deployments"] = r.claims(r.hostingDB().Deploying(), func(string) any { return nil })
	s["stages"] = r.claims(r.edgeDB().Stages(), func(string) any { return nil })
	outbox := r.hostingDB().Outbox("ops")
	s["events"] = r.claims(outbox, func(key string) any {
		n, found, err := outbox.Notice(ctx, key)
		r.must(nil, outbox.Delivered(ctx, key))
		return r.must([]any{n, found}, err)
	})
	return s
}

// claims leases all that is due.
func (r *reader) claims(q loop.Queue, read func(key string) any) (out []any) {
	r.t.Helper()
	for {
		c, _, err := q.Claim(r.t.Context(), later, later.Add(time.Hour))
		if err != nil {
			r.t.Fatal(err)
		}
		if c.Key == "" {
			return out
		}
		out = append(out, map[string]any{"key": c.Key, "read": read(c.Key)})
	}
}
