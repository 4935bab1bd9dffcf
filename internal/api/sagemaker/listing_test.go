package sagemaker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

func TestPaginatorsSeeEveryRowOnceInOrder(t *testing.T) {
	w := newWorld(t)
	const n = 23
	w.model("m")
	for i := range n {
		w.model(fmt.Sprintf("m-%02d", i))
		w.config(fmt.Sprintf("c-%02d", i), "m", 1)
		w.accepted("CreateEndpoint", fmt.Sprintf(`{"EndpointName":"e-%02d","EndpointConfigName":"c-00"}`, i))
	}
	for _, by := range []string{"", "Name", "CreationTime", "Status"} {
		for _, order := range []types.OrderKey{"", types.OrderKeyAscending, types.OrderKeyDescending} {
			var es, ms, cs []string
			for p := sagemaker.NewListEndpointsPaginator(
				w.Client,
				&sagemaker.ListEndpointsInput{
					SortBy: types.EndpointSortKey(by), SortOrder: order, MaxResults: new(int32(7)),
				},
			); p.HasMorePages(); {
				page, err := p.NextPage(t.Context())
				w.ok(err)
				for _, e := range page.Endpoints {
					es = append(es, *e.EndpointName)
				}
			}
			if by == "Status" { // only endpoints have one
				inOrder(t, by, order, "e-", es, n)
				continue
			}
			for p := sagemaker.NewListModelsPaginator(
				w.Client,
				&sagemaker.ListModelsInput{SortBy: types.ModelSortKey(by), SortOrder: order, NameContains: new("M-")},
			); p.HasMorePages(); {
				page, err := p.NextPage(t.Context())
				w.ok(err)
				for _, m := range page.Models {
					ms = append(ms, *m.ModelName)
				}
			}
			for p := sagemaker.NewListEndpointConfigsPaginator(
				w.Client,
				&sagemaker.ListEndpointConfigsInput{
					SortBy: types.EndpointConfigSortKey(by), SortOrder: order, MaxResults: new(int32(1)),
				},
			); p.HasMorePages(); {
				page, err := p.NextPage(t.Context())
				w.ok(err)
				for _, c := range page.EndpointConfigs {
					cs = append(cs, *c.EndpointConfigName)
				}
			}
			inOrder(t, by, order, "e-", es, n)
			inOrder(t, by, order, "m-", ms, n)
			inOrder(t, by, order, "c-", cs, n)
		}
	}
}

// inOrder checks names that were made in their alphabetical order, so that all
// orders are the same one.
func inOrder(t *testing.T, by string, order types.OrderKey, prefix string, got []string, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%s by %q %q: %d rows, want %d", prefix, by, order, len(got), n)
		return
	}
	for i, name := range got {
		k := n - 1 - i
		if order == types.OrderKeyAscending {
			k = i
		}
		if want := fmt.Sprintf("%s%02d", prefix, k); name != want {
			t.Errorf("by %q %q: row %d is %s, want %s", by, order, i, name, want)
			return
		}
	}
}

func TestATokenIsGoodForItsOwnListingOnly(t *testing.T) {
	w := newWorld(t)
	w.model("m-1")
	w.model("m-2")
	w.model("m-3")
	w.config("c-1", "m-1", 1)
	w.config("c-2", "m-1", 1)
	first, err := w.ListModels(
		t.Context(), &sagemaker.ListModelsInput{MaxResults: new(int32(1)), SortBy: types.ModelSortKeyName},
	)
	w.ok(err)
	token := first.NextToken
	second, err := w.ListModels(t.Context(), &sagemaker.ListModelsInput{
		MaxResults: new(int32(100)), SortBy: types.ModelSortKeyName, NextToken: token,
	})
	w.ok(err)
	if len(second.Models) != 2 || *second.Models[0].ModelName != "m-2" || second.NextToken != nil {
		t.Errorf("got %+v", second.Models)
	}
	const invalid = "Invalid pagination token."
	_, err = w.ListModels(t.Context(), &sagemaker.ListModelsInput{
		SortBy: types.ModelSortKeyName, SortOrder: types.OrderKeyAscending, NextToken: token,
	})
	w.refused(err, "ValidationException", invalid)
	_, err = w.ListModels(t.Context(), &sagemaker.ListModelsInput{
		SortBy: types.ModelSortKeyName, NameContains: new("m"), NextToken: token,
	})
	w.refused(err, "ValidationException", invalid)
	_, err = w.in(
		"eu-west-1",
	).ListModels(t.Context(), &sagemaker.ListModelsInput{SortBy: types.ModelSortKeyName, NextToken: token})
	w.refused(err, "ValidationException", invalid)
	_, err = w.ListEndpointConfigs(
		t.Context(), &sagemaker.ListEndpointConfigsInput{SortBy: types.EndpointConfigSortKeyName, NextToken: token},
	)
	w.refused(err, "ValidationException", invalid)
	for _, bad := range []string{"x", "e30", strings.Repeat("A", 8192), (*token)[1:], *token + "A"} {
		_, err = w.ListModels(t.Context(), &sagemaker.ListModelsInput{SortBy: types.ModelSortKeyName, NextToken: &bad})
		w.refused(err, "ValidationException", invalid)
	}
}

func TestFiltersSelectBeforeThePage(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	w.accepted("CreateEndpoint", `{"EndpointName":"Other","EndpointConfigName":"c"}`)
	list := func(in *sagemaker.ListEndpointsInput) string {
		t.Helper()
		out, err := w.ListEndpoints(t.Context(), in)
		w.ok(err)
		var names []string
		for _, e := range out.Endpoints {
			names = append(names, *e.EndpointName)
		}
		return strings.Join(names, " ")
	}
	e := w.describe("e")
	for name, tt := range map[string]struct {
		in   *sagemaker.ListEndpointsInput
		want string
	}{
		"all, the newest first": {&sagemaker.ListEndpointsInput{}, "Other e"},
		"by a part of the name": {&sagemaker.ListEndpointsInput{NameContains: new("THER")}, "Other"},
		"by status": {
			&sagemaker.ListEndpointsInput{StatusEquals: types.EndpointStatusInService}, "e",
		},
		"created before, exclusively": {&sagemaker.ListEndpointsInput{CreationTimeBefore: e.CreationTime}, ""},
		"modified before":             {&sagemaker.ListEndpointsInput{LastModifiedTimeBefore: e.CreationTime}, ""},
		"created at or after":         {&sagemaker.ListEndpointsInput{CreationTimeAfter: e.CreationTime}, "Other e"},
		"by status, the other way": {
			&sagemaker.ListEndpointsInput{StatusEquals: types.EndpointStatusCreating}, "Other",
		},
		"by a name that nothing has": {&sagemaker.ListEndpointsInput{NameContains: new("zzz")}, ""},
		"sorted by status, ascending": {
			&sagemaker.ListEndpointsInput{SortBy: types.EndpointSortKeyStatus, SortOrder: types.OrderKeyAscending},
			"Other e",
		},
		"sorted by name, ascending, -1": {
			&sagemaker.ListEndpointsInput{
				SortBy: types.EndpointSortKeyName, SortOrder: types.OrderKeyAscending, MaxResults: new(int32(1)),
			},
			"Other",
		},
	} {
		if got := list(tt.in); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	w.same(w.accepted("ListEndpoints", `{"NameContains":"zzz"}`), `{"Endpoints":[]}`)
}

func TestTagsAreKeptWithTheirResource(t *testing.T) {
	w := newWorld(t)
	w.accepted(
		"CreateModel",
		`{"ModelName":"m","PrimaryContainer":{"Image":"i"},"Tags":[{"Key":"b","Value":"1"},{"Key":"a","Value":""}]}`,
	)
	res := `"ResourceArn":"` + prefix + `model/m"`
	w.same(w.accepted("ListTags", `{`+res+`}`), `{"Tags":[{"Key":"a","Value":""},{"Key":"b","Value":"1"}]}`)
	w.same(
		w.accepted("AddTags", `{`+res+`,"Tags":[{"Key":"b","Value":"2"},{"Key":"c","Value":"é"}]}`),
		`{"Tags":[{"Key":"a","Value":""},{"Key":"b","Value":"2"},{"Key":"c","Value":"é"}]}`,
	)
	w.same(w.accepted("DeleteTags", `{`+res+`,"TagKeys":["a","b","x"]}`), `{}`)
	w.same(w.accepted("ListTags", `{`+res+`,"MaxResults":50}`), `{"Tags":[{"Key":"c","Value":"é"}]}`)

	var many []string
	for i := range 50 {
		many = append(many, fmt.Sprintf(`{"Key":"k%d","Value":""}`, i))
	}
	tests := map[string]struct{ op, body, want string }{
		"a resource that is not there": {
			"ListTags", `{"ResourceArn":"` + prefix + `endpoint/x"}`,
			`Could not find endpoint \"` + prefix + `endpoint/x\".`,
		},
		"a resource of another region": {
			"ListTags", `{"ResourceArn":"arn:aws:sagemaker:eu-west-1:000000000000:model/m"}`,
			`Could not find model \"arn:aws:sagemaker:eu-west-1:000000000000:model/m\".`,
		},
		"a resource of another account": {
			"AddTags",
			`{"ResourceArn":"arn:aws:sagemaker:us-east-1:111111111111:model/m","Tags":[{"Key":"k","Value":""}]}`,
			`Could not find model \"arn:aws:sagemaker:us-east-1:111111111111:model/m\".`,
		},
		"one key twice": {
			"AddTags", `{` + res + `,"Tags":[{"Key":"k","Value":""},{"Key":"k","Value":""}]}`,
			`Duplicate tag keys found. Please note that Tag keys are case sensitive: \"k\".`,
		},
		"more than fifty": {
			"AddTags", `{` + res + `,"Tags":[` + strings.Join(many, ",") + `]}`, `A resource can have at most 50 tags.`,
		},
		"a token that nobody gave": {"ListTags", `{` + res + `,"NextToken":"x"}`, `Invalid pagination token.`},
		"a page too small": {
			"ListTags", `{` + res + `,"MaxResults":49}`,
			`1 validation error detected: Value '49' at 'maxResults' failed to satisfy constraint: Member must have ` +
				`value greater than or equal to 50`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, got := w.raw(tt.op, tt.body)
			if want := `{"__type":"ValidationException","message":"` + tt.want + `"}`; status != 400 || got != want {
				t.Errorf("got %d %s\nwant %s", status, got, want)
			}
		})
	}
}
