package restjson_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// The SDK is the oracle: what it sends is read, what is answered it reads.
func TestTheGoSDKIsUnderstood(t *testing.T) {
	srv := httptest.NewServer(things(logger(t)))
	defer srv.Close()
	c := client.New(client.Options{
		BaseEndpoint: &srv.URL, Region: "eu-west-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
	})
	ctx := t.Context()
	made, err := c.CreateThing(ctx, &client.CreateThingInput{
		ThingName: aws.String("a:b"), ThingTypeName: aws.String("T"),
		AttributePayload: &types.AttributePayload{Attributes: map[string]string{"k": "v,w"}},
	})
	if err != nil || *made.ThingName != "a:b" || *made.ThingId != "v,w" {
		t.Errorf("%+v %v", made, err)
	}
	_, err = c.CreateThing(ctx, &client.CreateThingInput{ThingName: aws.String("there")})
	if e, ok := errors.AsType[*types.ResourceAlreadyExistsException](err); !ok || *e.ResourceArn == "" ||
		e.ErrorMessage() != "Thing there already exists." {
		t.Errorf("%v", err)
	}
	_, err = c.DescribeThing(ctx, &client.DescribeThingInput{ThingName: aws.String("missing")})
	if e, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok ||
		e.ErrorMessage() != "Thing missing does not exist." {
		t.Errorf("%v", err)
	}
	if _, err = c.DeleteThing(
		ctx, &client.DeleteThingInput{ThingName: aws.String("a"), ExpectedVersion: aws.Int64(7)},
	); err != nil {
		t.Error(err)
	}
	list, err := c.ListThings(ctx, &client.ListThingsInput{
		MaxResults: aws.Int32(7), UsePrefixAttributeValue: true, AttributeName: aws.String("a,b/c"),
	})
	if err != nil || *list.Things[0].ThingName != "7 true a,b/c " {
		t.Errorf("%+v %v", list, err)
	}
	if _, err = c.AttachThingPrincipal(ctx, &client.AttachThingPrincipalInput{
		ThingName: aws.String("a"), Principal: aws.String("arn:aws:iot:us-east-1:123456789012:cert/0a"),
	}); err != nil {
		t.Error(err)
	}
	if _, err = c.AttachPolicy(
		ctx, &client.AttachPolicyInput{PolicyName: aws.String("p"), Target: aws.String("t")},
	); err != nil {
		t.Error(err)
	}
	cert, err := c.CreateKeysAndCertificate(ctx, &client.CreateKeysAndCertificateInput{SetAsActive: true})
	if err != nil || *cert.CertificateId != "true" || *cert.KeyPair.PrivateKey != "priv" {
		t.Errorf("%+v %v", cert, err)
	}
	alias, err := c.DescribeRoleAlias(ctx, &client.DescribeRoleAliasInput{RoleAlias: aws.String("SageMakerEdge-f")})
	if err != nil || !alias.RoleAliasDescription.CreationDate.Equal(at) ||
		*alias.RoleAliasDescription.CredentialDurationSeconds != 3600 {
		t.Errorf("%+v %v", alias, err)
	}
}
