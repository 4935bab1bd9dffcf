package trust_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/trust"
)

var (
	scope = arn.Scope{Region: "us-east-1", Account: "123456789012"}
	alias = trust.AliasARN(scope, "SageMakerEdge-line1")
)

func statement(effect, rest string) string { return `{"Effect":"` + effect + `",` + rest + `}` }

func document(statements string) string {
	return `{"Version":"2012-10-17","Statement":` + statements + `}`
}

const onAll = `"Action":"*","Resource":"*"`

func allowed(t *testing.T, documents ...string) bool {
	t.Helper()
	var all []trust.Document
	for _, text := range documents {
		d, err := trust.ParsePolicy(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		all = append(all, d)
	}
	return trust.Allowed(all, trust.AssumeRole, alias)
}

func TestWhatPoliciesAllow(t *testing.T) {
	guide := document(statement("Allow", `"Action":"iot:AssumeRoleWithCertificate","Resource":"`+alias+`"`))
	for name, c := range map[string]struct {
		documents []string
		want      bool
	}{
		"the guide's, whose statement is an object": {[]string{guide}, true},
		"no policy": {nil, false},
		"lists of everything": {[]string{document(`[` +
			statement("Allow", `"Action":["iot:Publish","iot:AssumeRoleWithCertificate"],"Resource":["x","`+alias+
				`"]`) + `]`)}, true},
		"a wildcard": {[]string{document(statement("Allow",
			`"Action":"iot:Assume*","Resource":"arn:aws:iot:*:*:rolealias/SageMakerEdge-*"`))}, true},
		"a question mark": {[]string{document(statement("Allow", `"Action":"iot:*","Resource":"`+
			alias[:len(alias)-1]+`?"`))}, true},
		"a question mark is not none": {[]string{document(statement("Allow", `"Action":"iot:*","Resource":"`+alias+
			`?"`))}, false},
		"an action in other case": {[]string{document(statement("Allow",
			`"Action":"IOT:assumerolewithcertificate","Resource":"*"`))}, true},
		"a resource in other case": {[]string{document(statement("Allow", `"Action":"*","Resource":"`+
			strings.ToUpper(alias)+`"`))}, false},
		"another alias": {[]string{document(statement("Allow", `"Action":"*","Resource":"`+alias+
			`2"`))}, false},
		"another action": {[]string{document(statement("Allow",
			`"Action":"iot:Connect","Resource":"*"`))}, false},
		"a denial wins, wherever it is": {[]string{document(statement("Deny", onAll)), guide}, false},
		"a denial wins, in a list": {[]string{document(`[` + statement("Allow", onAll) + `,` +
			statement("Deny", onAll) + `]`)}, false},
		"a denial of something else": {[]string{
			guide,
			document(statement("Deny", `"Action":"iot:Connect","Resource":"*"`)),
		}, true},
		"a condition is not met": {[]string{document(statement("Allow", onAll+
			`,"Condition":{"Bool":{"x":"true"}}`))}, false},
		"a condition of a denial is": {[]string{
			guide,
			document(statement("Deny", onAll+`,"Condition":{"Bool":{"x":"true"}}`)),
		}, false},
		"a variable matches nothing": {
			[]string{document(statement("Allow", `"Action":"*","Resource":"*${iot:x}*"`))},
			false,
		},
		"a variable of a denial does": {[]string{
			guide,
			document(statement("Deny", `"Action":"*","Resource":"arn:aws:iot:us-east-1:${a}:x"`)),
		}, false},
		"an empty list of statements": {[]string{document(`[]`)}, false},
	} {
		if got := allowed(t, c.documents...); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestAPolicyThatIsNotUnderstoodIsRefused(t *testing.T) {
	allow := statement("Allow", onAll)
	for name, text := range map[string]string{
		"nothing":                     ``,
		"no object":                   `[]`,
		"no JSON":                     `{"Version":`,
		"more after it":               document(allow) + `{}`,
		"no statement":                `{"Version":"2012-10-17"}`,
		"statement null":              document(`null`),
		"a list of no objects":        document(`[1]`),
		"another version":             `{"Version":"2020-01-01","Statement":` + allow + `}`,
		"a version that is no string": `{"Version":20121017,"Statement":` + allow + `}`,
		"an unknown element":          `{"Statement":` + allow + `,"Principal":"*"}`,
		"lower case":                  `{"statement":` + allow + `}`,
		"an effect twice":             document(`{"Effect":"Deny","Effect":"Allow",` + onAll + `}`),
		"an effect in two cases":      document(`{"Effect":"Deny","effect":"Allow",` + onAll + `}`),
		"another effect":              document(statement("Maybe", onAll)),
		"no effect":                   document(`{` + onAll + `}`),
		"no action":                   document(statement("Allow", `"Resource":"*"`)),
		"no resource":                 document(statement("Allow", `"Action":"*"`)),
		"an empty list":               document(statement("Allow", `"Action":[],"Resource":"*"`)),
		"a number as action":          document(statement("Allow", `"Action":1,"Resource":"*"`)),
		"null in a list":              document(statement("Allow", `"Action":["*",null],"Resource":"*"`)),
		"what it does not apply to":   document(statement("Deny", `"NotAction":"*","Resource":"*"`)),
		"too long": document(statement("Allow", `"Action":"`+strings.Repeat("a", 3000)+
			`","Resource":"*"`)),
	} {
		_, err := trust.ParsePolicy(text)
		if !errors.Is(err, fault.Invalid) || !errors.Is(err, trust.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := trust.ParsePolicy(document(allow + strings.Repeat(" ", 10000))); err != nil {
		t.Errorf("white space counts: %v", err)
	}
}

func TestMatchingAHostilePatternEnds(t *testing.T) {
	pattern := strings.Repeat("*a", 600) + "b"
	d, err := trust.ParsePolicy(document(statement("Allow", `"Action":"*","Resource":"`+pattern+`"`)))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if trust.Allowed([]trust.Document{d}, trust.AssumeRole, strings.Repeat("a", 2000)) {
		t.Error("it matched")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestACertificateIsNamedInItsOwnScopeOnly(t *testing.T) {
	id := strings.Repeat("0f", 32)
	if got, ok := trust.CertificateID(scope, trust.CertificateARN(scope, id)); !ok || got != id {
		t.Error(got, ok)
	}
	other := arn.Scope{Region: "eu-west-1", Account: scope.Account}
	for _, s := range []string{
		"", id, trust.CertificateARN(other, id), trust.CertificateARN(scope, id) + "0",
		trust.CertificateARN(scope, id[1:]),
	} {
		if _, ok := trust.CertificateID(scope, s); ok {
			t.Errorf("%q was taken", s)
		}
	}
}

// Nothing that is read may panic, and no document may be allowed by one that
// holds a denial of everything beside it.
func FuzzPolicies(f *testing.F) {
	for _, s := range []string{
		document(statement("Allow", onAll)), document(`[` + statement("Deny", onAll) + `]`),
		`{"Statement":{}}`, `{"Statement":"x"}`,
	} {
		f.Add(s)
	}
	deny, err := trust.ParsePolicy(document(statement("Deny", onAll)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := trust.ParsePolicy(text)
		if err != nil {
			if !errors.Is(err, trust.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if trust.Allowed([]trust.Document{d, deny}, trust.AssumeRole, alias) {
			t.Error("allowed in spite of a denial")
		}
	})
}
