package iot_test

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/smithy-go"
)

// python finds an interpreter that has boto3: the machine's own, or Debian's.
func python(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(p, "-c", "import boto3").Run() == nil {
			return p
		}
	}
	t.Skip("NOT TESTED: no Python with boto3 was found")
	return ""
}

func TestTheGettingStartedGuideRunsUnchanged(t *testing.T) {
	py := python(t)
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("NOT TESTED: no curl was found")
	}
	w, dir := newWorld(t), t.TempDir()
	ca := filepath.Join(dir, "AmazonRootCA1.pem")
	w.ok(os.WriteFile(ca, []byte(w.ids.CA()), 0o600))
	if out, err := exec.CommandContext(
		t.Context(), py, "testdata/guide.py", w.url, w.key.ID, w.key.Secret, ca, dir,
	).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

const role = "arn:aws:iam::123456789012:role/Devices"

// certify makes an active certificate.
func (w *world) certify() *sdk.CreateKeysAndCertificateOutput {
	w.t.Helper()
	c, err := w.CreateKeysAndCertificate(w.t.Context(), &sdk.CreateKeysAndCertificateInput{SetAsActive: true})
	w.ok(err)
	return c
}

func TestErrorsHaveTheTypesOfTheModel(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	thing := &sdk.CreateThingInput{ThingName: aws.String("cam")}
	made, err := w.CreateThing(ctx, thing)
	w.ok(err)
	again, err := w.CreateThing(ctx, thing)
	if err != nil || *again.ThingId != *made.ThingId ||
		*made.ThingArn != "arn:aws:iot:us-east-1:123456789012:thing/cam" {
		t.Error(again, err)
	}
	thing.AttributePayload = &types.AttributePayload{Attributes: map[string]string{"a": "b"}}
	_, err = w.CreateThing(ctx, thing)
	if e := refused[*types.ResourceAlreadyExistsException](
		w, err, http.StatusConflict, "Thing cam already exists",
	); e != nil &&
		(*e.ResourceArn != *made.ThingArn || *e.ResourceId != *made.ThingId) {
		t.Error(*e.ResourceArn, *e.ResourceId)
	}
	_, err = w.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("x"), ThingTypeName: aws.String("none")})
	refused[*types.ResourceNotFoundException](w, err, http.StatusNotFound, "none")
	_, err = w.DeleteThing(ctx, &sdk.DeleteThingInput{ThingName: aws.String("cam"), ExpectedVersion: aws.Int64(9)})
	refused[*types.VersionConflictException](w, err, http.StatusConflict, "cam")
	_, err = w.DescribeThing(ctx, &sdk.DescribeThingInput{ThingName: aws.String("a b")})
	refused[*types.InvalidRequestException](
		w, err, http.StatusBadRequest, "Member must satisfy regular expression pattern",
	)

	c := w.certify()
	_, err = w.DeleteCertificate(ctx, &sdk.DeleteCertificateInput{CertificateId: c.CertificateId})
	refused[*types.CertificateStateException](w, err, http.StatusNotAcceptable, "deactivated")
	_, err = w.AttachThingPrincipal(
		ctx, &sdk.AttachThingPrincipalInput{ThingName: aws.String("cam"), Principal: aws.String("someone")},
	)
	refused[*types.InvalidRequestException](w, err, http.StatusBadRequest, "ARN of a certificate")
	_, err = w.AttachThingPrincipal(ctx, &sdk.AttachThingPrincipalInput{
		ThingName: aws.String("cam"), Principal: aws.String(*c.CertificateArn + "0"),
	})
	refused[*types.ResourceNotFoundException](w, err, http.StatusNotFound, "cannot be found")

	policy := func(name, document string) *sdk.CreatePolicyInput {
		return &sdk.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document}
	}
	_, err = w.CreatePolicy(ctx, policy("p", `{"Statement":{"Effect":"Allow"}}`))
	refused[*types.MalformedPolicyException](w, err, http.StatusBadRequest, "malformed")
	_, err = w.CreatePolicy(ctx, policy("p", `{"Statement":[]}`))
	w.ok(err)
	_, err = w.CreatePolicy(ctx, policy("p", `{"Statement":[]}`))
	refused[*types.ResourceAlreadyExistsException](w, err, http.StatusConflict, "already exists")
	_, err = w.AttachPolicy(ctx, &sdk.AttachPolicyInput{PolicyName: aws.String("p"), Target: c.CertificateArn})
	w.ok(err)
	_, err = w.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyName: aws.String("p")})
	refused[*types.DeleteConflictException](w, err, http.StatusConflict, "attached")

	_, err = w.CreateRoleAlias(ctx, &sdk.CreateRoleAliasInput{
		RoleAlias: aws.String("a"), RoleArn: aws.String(role), CredentialDurationSeconds: aws.Int32(899),
	})
	refused[*types.InvalidRequestException](w, err, http.StatusBadRequest, "greater than or equal to 900")
	_, err = w.DescribeEndpoint(ctx, &sdk.DescribeEndpointInput{EndpointType: aws.String("iot:Jobs")})
	refused[*types.InvalidRequestException](w, err, http.StatusBadRequest, "endpoint type")
	_, err = w.ListThings(ctx, &sdk.ListThingsInput{NextToken: aws.String("junk")})
	refused[*types.InvalidRequestException](w, err, http.StatusBadRequest, "token")
}

func TestWhatIsNotServedIsRefusedByItsName(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	_, err := w.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("x"), BillingGroupName: aws.String("b")})
	refused[*types.InvalidRequestException](w, err, http.StatusBadRequest, "billingGroupName is not supported")
	_, err = w.AttachThingPrincipal(ctx, &sdk.AttachThingPrincipalInput{
		ThingName: aws.String("x"), Principal: aws.String("p"),
		ThingPrincipalType: types.ThingPrincipalTypeExclusiveThing,
	})
	refused[*types.InvalidRequestException](w, err, http.StatusBadRequest, "EXCLUSIVE_THING is not supported")
	_, err = w.CreateThingGroup(ctx, &sdk.CreateThingGroupInput{ThingGroupName: aws.String("g")})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || !strings.Contains(e.ErrorMessage(), "/thing-groups/g") {
		t.Error(err)
	}
}

func TestTheRecordsTellWhatWasSaid(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	_, err := w.CreateThingType(ctx, &sdk.CreateThingTypeInput{
		ThingTypeName: aws.String("camera"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("")}},
		ThingTypeProperties: &types.ThingTypeProperties{
			ThingTypeDescription: aws.String("sees"), SearchableAttributes: []string{"os"},
		},
	})
	w.ok(err)
	typ, err := w.DescribeThingType(ctx, &sdk.DescribeThingTypeInput{ThingTypeName: aws.String("camera")})
	w.ok(err)
	if *typ.ThingTypeProperties.ThingTypeDescription != "sees" ||
		typ.ThingTypeProperties.SearchableAttributes[0] != "os" || typ.ThingTypeMetadata.Deprecated ||
		typ.ThingTypeMetadata.CreationDate == nil {
		t.Errorf("%+v", typ)
	}
	c := w.certify()
	got, err := w.DescribeCertificate(
		ctx, &sdk.DescribeCertificateInput{CertificateId: aws.String(strings.ToUpper(*c.CertificateId))},
	)
	w.ok(err)
	d := got.CertificateDescription
	if *d.CertificatePem != *c.CertificatePem || d.Status != types.CertificateStatusActive ||
		*d.CertificateArn != *c.CertificateArn || *d.OwnedBy != account ||
		d.Validity.NotAfter.Year() != 2049 ||
		*c.CertificateArn != "arn:aws:iot:us-east-1:123456789012:cert/"+*c.CertificateId {
		t.Errorf("%+v", d)
	}
	if _, err := w.in(
		"eu-west-1",
	).DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateId: c.CertificateId}); err == nil {
		t.Error("it is known in another region")
	}
	at, err := w.DescribeEndpoint(ctx, &sdk.DescribeEndpointInput{})
	if err != nil || *at.EndpointAddress != w.devices {
		t.Error(at, err)
	}
	_, err = w.CreateRoleAlias(ctx, &sdk.CreateRoleAliasInput{RoleAlias: aws.String("a"), RoleArn: aws.String(role)})
	w.ok(err)
	_, err = w.UpdateRoleAlias(
		ctx, &sdk.UpdateRoleAliasInput{RoleAlias: aws.String("a"), CredentialDurationSeconds: aws.Int32(900)},
	)
	w.ok(err)
	alias, err := w.DescribeRoleAlias(ctx, &sdk.DescribeRoleAliasInput{RoleAlias: aws.String("a")})
	if err != nil || *alias.RoleAliasDescription.CredentialDurationSeconds != 900 ||
		*alias.RoleAliasDescription.RoleArn != role {
		t.Error(alias, err)
	}
}

func TestListingsPageThroughEverything(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	c := w.certify()
	_, err := w.CreatePolicy(
		ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Statement":[]}`)},
	)
	w.ok(err)
	for i := range 7 {
		name := aws.String(strings.Repeat(string("xyz"[i%3]), i+1))
		_, err := w.CreateThing(ctx, &sdk.CreateThingInput{ThingName: name})
		w.ok(err)
		_, err = w.AttachThingPrincipal(
			ctx, &sdk.AttachThingPrincipalInput{ThingName: name, Principal: c.CertificateArn},
		)
		w.ok(err)
		_, err = w.CreateRoleAlias(ctx, &sdk.CreateRoleAliasInput{RoleAlias: name, RoleArn: aws.String(role)})
		w.ok(err)
	}
	for _, up := range []bool{false, true} {
		seen := map[string]bool{}
		pages := sdk.NewListRoleAliasesPaginator(
			w, &sdk.ListRoleAliasesInput{PageSize: aws.Int32(2), AscendingOrder: up},
		)
		for pages.HasMorePages() {
			p, err := pages.NextPage(ctx)
			w.ok(err)
			for _, a := range p.RoleAliases {
				seen[a] = true
			}
		}
		if len(seen) != 7 {
			t.Error(up, seen)
		}
	}
	things := sdk.NewListThingsPaginator(w, &sdk.ListThingsInput{MaxResults: aws.Int32(3)})
	of := sdk.NewListPrincipalThingsPaginator(
		w, &sdk.ListPrincipalThingsInput{Principal: c.CertificateArn, MaxResults: aws.Int32(3)},
	)
	n, m := 0, 0
	for things.HasMorePages() {
		p, err := things.NextPage(ctx)
		w.ok(err)
		n += len(p.Things)
	}
	for of.HasMorePages() {
		p, err := of.NextPage(ctx)
		w.ok(err)
		m += len(p.Things)
	}
	if n != 7 || m != 7 {
		t.Error(n, m)
	}
}
