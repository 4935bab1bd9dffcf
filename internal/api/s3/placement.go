package s3

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// What a write may ask for where its object is kept, under which name the object
// keeps it. A copy does not take them over: it is asked anew.
const (
	storageClass  = "x-amz-storage-class"
	encryption    = "x-amz-server-side-encryption"
	kmsKey        = encryption + "-aws-kms-key-id"
	kmsBucketKey  = encryption + "-bucket-key-enabled"
	kmsContext    = encryption + "-context"
	redirect      = "x-amz-website-redirect-location"
	standardClass = "STANDARD"
)

var placements = []string{storageClass, encryption, kmsKey, kmsBucketKey, kmsContext, redirect}

// storageClasses are those of S3's general purpose buckets. All are the same disk
// here, and an object says which it was put in.
var storageClasses = []string{
	standardClass, "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE",
	"GLACIER_IR",
}

// placement adds to an object's header what the request asks for of its place.
func (c *call) placement(header map[string]string) error {
	asked := map[string]string{}
	for _, name := range placements {
		if v := c.r.Header.Get(name); v != "" {
			asked[name] = v
		}
	}
	if class, ok := asked[storageClass]; ok && !slices.Contains(storageClasses, class) {
		e := argument(storageClass, class, "The storage class you specified is not valid")
		e.code = "InvalidStorageClass"
		return e
	} else if class == standardClass { // S3 does not say so either
		delete(asked, storageClass)
	}
	if err := checkEncryption(asked); err != nil {
		return err
	}
	if to, ok := asked[redirect]; ok && !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "http://") &&
		!strings.HasPrefix(to, "https://") {
		e := argument(
			redirect, to, "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
		)
		e.code = "InvalidRedirectLocation"
		return e
	}
	for name, v := range asked {
		header[name] = v
	}
	return nil
}

// checkEncryption refuses what S3 refuses. Objects lie on the server's disk as
// they are: whoever wants them encrypted there encrypts the disk.
func checkEncryption(asked map[string]string) error {
	algorithm, given := asked[encryption]
	if given && !slices.Contains([]string{"AES256", "aws:kms", "aws:kms:dsse"}, algorithm) {
		return argument(encryption, algorithm, "The encryption method specified is not supported")
	}
	for _, name := range []string{kmsKey, kmsBucketKey, kmsContext} {
		if v, ok := asked[name]; ok && !strings.HasPrefix(algorithm, "aws:kms") {
			return argument(
				name, v,
				"Server Side Encryption with AWS KMS managed key requires HTTP header "+encryption+" : aws:kms",
			)
		}
	}
	if v, ok := asked[kmsBucketKey]; ok && v != "true" && v != "false" {
		return argument(kmsBucketKey, v, "The value must be true or false")
	}
	if v, ok := asked[kmsContext]; ok {
		text, err := base64.StdEncoding.DecodeString(v)
		var pairs map[string]string
		if err != nil || json.Unmarshal(text, &pairs) != nil {
			return argument(kmsContext, v, "The encryption context must be a base64-encoded JSON object of strings")
		}
	}
	return nil
}

// echoEncryption tells how an object is encrypted, as every answer about it does.
func (c *call) echoEncryption(header map[string]string) {
	for _, name := range []string{encryption, kmsKey, kmsBucketKey, kmsContext} {
		if v, ok := header[name]; ok {
			c.w.Header().Set(name, v)
		}
	}
}

func classOf(header map[string]string) string {
	if class, ok := header[storageClass]; ok {
		return class
	}
	return standardClass
}
