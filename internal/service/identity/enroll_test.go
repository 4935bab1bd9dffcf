package identity_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/enroll"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/service/identity"
)

func TestADeviceEnrollsAndHasAllThatItNeeds(t *testing.T) {
	onBoth(t, func(w *world) {
		w.fleet("f")
		token := w.invite("cam")
		if token.URL != "http://edge.example:9400" || token.CA != fingerprint(t, w.CA()) || token.Fleet != "f" ||
			token.Name != "cam" {
			t.Errorf("%+v", token)
		}
		id, reply := w.enroll(token, csr(t))
		want := map[string]string{
			"sagemaker_edge_core_device_name":       "cam",
			"sagemaker_edge_core_device_fleet_name": "f",
			"sagemaker_edge_core_iot_thing_name":    "f:cam",
			"sagemaker_edge_core_region":            "us-east-1",
			"sagemaker_edge_core_endpoint_override": "https://edge.example:9443",
			"sagemaker_edge_provider_provider":      "Aws",
			"sagemaker_edge_provider_aws_iot_cred_endpoint": "https://edge.example:9443/role-aliases/SageMakerEdge-f/" +
				"credentials",
		}
		if d := cmp.Diff(want, reply.Config); d != "" || reply.Chain != w.CA() ||
			reply.SigningRoots["us-east-1"] != "root" {
			t.Error(d, reply.SigningRoots)
		}
		if thing := w.device("f", "cam"); thing != "f:cam" {
			t.Error(thing)
		}
		g, err := w.Assume(t.Context(), identity.Ask{CertificateID: id, Alias: "SageMakerEdge-f", Thing: new("f:cam")})
		if g.Thing != "f:cam" || g.RoleARN != role || err != nil || !w.Alive(id, "f:cam") {
			t.Error(g, err)
		}
		if _, err := w.Assume(t.Context(), identity.Ask{CertificateID: id, Alias: "SageMakerEdge-g"}); !errors.Is(
			err, identity.ErrPolicy,
		) {
			t.Error("another fleet's alias:", err)
		}
	})
}

func TestATokenIsGoodForOneKey(t *testing.T) {
	onBoth(t, func(w *world) {
		w.fleet("f")
		token, mine := w.invite("cam"), csr(t)
		id, _ := w.enroll(token, mine)
		if again, _ := w.enroll(token, mine); again != id { // the reply was lost
			t.Error("the same request got another certificate")
		}
		_, err := w.Enroll(t.Context(), token.Request(csr(t)))
		w.refused(err, fault.Denied)
		w.ok(w.SetStatus(t.Context(), scope, id, "REVOKED"))
		_, err = w.Enroll(t.Context(), token.Request(mine))
		w.refused(err, fault.Denied)
	})
}

func TestWithoutItsSecretATokenIsNothing(t *testing.T) {
	inSQLite(t, func(w *world) {
		w.fleet("f")
		token := w.invite("cam")
		forged := token
		forged.Secret = []byte("0123456789abcdef0123456789abcdef")
		changed := token.Request(csr(t))
		changed.CSR = csr(t)
		unsigned := token.Request(csr(t))
		unsigned.MAC = nil
		for name, r := range map[string]enroll.Request{
			"another secret": forged.Request(csr(t)), "another CSR": changed, "no MAC": unsigned, "nothing": {},
		} {
			if _, err := w.Enroll(t.Context(), r); !errors.Is(err, fault.Denied) {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err := w.Enroll(t.Context(), token.Request([]byte("no CSR")))
		w.refused(err, fault.Invalid)
		w.enroll(token, csr(t)) // none of that has spent it
	})
}

func TestOneOfManyWhoSpendATokenAtOnceGetsIt(t *testing.T) {
	onBoth(t, func(w *world) {
		w.fleet("f")
		token := w.invite("cam")
		var mu sync.Mutex
		var wg sync.WaitGroup
		got := 0
		for range 12 {
			r := token.Request(csr(t))
			wg.Go(func() {
				_, err := w.Enroll(t.Context(), r)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					got++
				case !errors.Is(err, fault.Denied):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if ids, err := w.db.CertificatesOfThing(t.Context(), scope, "f:cam", "", 99); got != 1 || len(ids) != 1 ||
			err != nil {
			t.Error(got, ids, err)
		}
	})
}

func TestManyDevicesEnrollAtOnce(t *testing.T) {
	onBoth(t, func(w *world) {
		w.fleet("f")
		const n = 20
		var wg sync.WaitGroup
		for i := range n {
			token, r := w.invite("cam-"+string(rune('a'+i))), csr(t)
			wg.Go(func() {
				if _, err := w.Enroll(t.Context(), token.Request(r)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		all, more, err := w.Identities(t.Context(), scope, "f", "", 100)
		if len(all) != n || more || err != nil {
			t.Error(len(all), more, err)
		}
		for _, i := range all {
			if len(i.Certificates) != 1 || !w.Alive(i.Certificates[0].ID, i.Thing) {
				t.Errorf("%+v", i)
			}
		}
	})
}

func TestANewEnrollmentEndsTheEarlierOne(t *testing.T) {
	onBoth(t, func(w *world) {
		w.fleet("f")
		first, _ := w.enroll(w.invite("cam"), csr(t))
		token := w.invite("cam")
		if !w.Alive(first, "f:cam") {
			t.Error("ended by an invitation")
		}
		second, _ := w.enroll(token, csr(t))
		if w.Alive(first, "f:cam") || w.Alive(first, first) || !w.Alive(second, "f:cam") {
			t.Error("not the new one alone")
		}
	})
}

func TestADeviceThatHasAThingKeepsIt(t *testing.T) {
	onBoth(t, func(w *world) {
		w.fleet("f")
		now := time.Now()
		w.ok(w.fleets.Change(t.Context(), func(tx edgestore.Tx) error {
			f, err := tx.Fleet(t.Context(), scope, "f")
			if err != nil {
				return err
			}
			_, err = tx.InsertDevices(t.Context(), f, []edge.Device{
				{Name: "with", Thing: "old", Registered: now}, {Name: "without", Description: "d", Registered: now},
			})
			return err
		}))
		id, reply := w.enroll(w.invite("with"), csr(t))
		if reply.Config["sagemaker_edge_core_iot_thing_name"] != "old" || !w.Alive(id, "old") {
			t.Error(reply.Config)
		}
		w.enroll(w.invite("without"), csr(t))
		if w.device("f", "with") != "old" || w.device("f", "without") != "f:without" {
			t.Error(w.device("f", "with"), w.device("f", "without"))
		}
	})
}

func TestARevokedDeviceIsOutAndItsTokenToo(t *testing.T) {
	onBoth(t, func(w *world) {
		w.fleet("f")
		id, _ := w.enroll(w.invite("cam"), csr(t))
		token := w.invite("cam")
		ended, err := w.Revoke(t.Context(), scope, "f", "cam")
		if d := cmp.Diff([]string{id}, ended); d != "" || err != nil || w.Alive(id, "f:cam") {
			t.Error(d, err)
		}
		_, err = w.Enroll(t.Context(), token.Request(csr(t)))
		w.refused(err, fault.Denied)
		if ended, err := w.Revoke(t.Context(), scope, "f", "cam"); len(ended) != 0 || err != nil {
			t.Error(ended, err)
		}
		_, err = w.Revoke(t.Context(), scope, "f", "nobody")
		w.refused(err, fault.NotFound)
		_, err = w.Revoke(t.Context(), scope, "nowhere", "cam")
		w.refused(err, fault.NotFound)
	})
}

func TestAnInvitationIsForAFleetThatIsThereAndForAWhile(t *testing.T) {
	inSQLite(t, func(w *world) {
		_, err := w.Invite(t.Context(), scope, "f", "cam", time.Hour)
		w.refused(err, fault.NotFound)
		w.fleet("f")
		for _, ttl := range []time.Duration{0, -time.Hour, time.Second, 31 * 24 * time.Hour} {
			_, err := w.Invite(t.Context(), scope, "f", "cam", ttl)
			w.refused(err, fault.Invalid)
		}
	})
}

func TestATokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inSQLite(t, func(w *world) {
			w.fleet("f")
			early, late := w.invite("early"), w.invite("late")
			time.Sleep(time.Hour - time.Second)
			w.enroll(early, csr(t))
			time.Sleep(time.Second)
			_, err := w.Enroll(t.Context(), late.Request(csr(t)))
			w.refused(err, fault.Denied)
			_, err = w.fleets.Fleet(t.Context(), scope, "f")
			w.ok(err)
		})
	})
}

// A server that has not looked for long reads everything again: what was gone
// meanwhile may have been forgotten.
func TestAServerThatWasAwayForgetsWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inSQLite(t, func(w *world) {
			id := w.provision("cam", "f")
			away := server(t, w.db)
			w.ok(w.tidy("cam", id))
			time.Sleep(2 * time.Hour)
			w.ok(w.db.PruneCertificates(t.Context(), time.Now().Add(-time.Hour)))
			if !away.Alive(id, "cam") {
				t.Fatal("it looked")
			}
			_, err := away.CreateKeysAndCertificate(t.Context(), scope, false) // looks
			w.ok(err)
			if away.Alive(id, "cam") {
				t.Error("a certificate that is gone is alive")
			}
		})
	})
}
