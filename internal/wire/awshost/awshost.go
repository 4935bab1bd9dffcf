// Package awshost reads the host names by which AWS is addressed: which of the
// services that Slipway serves a name stands for, and which bucket it names. It
// looks nothing up.
package awshost

import (
	"net"
	"regexp"
	"slices"
	"strings"
)

// Name is what a host name of AWS says.
type Name struct {
	Service string // sagemaker, sts, monitoring, s3 or iot
	Bucket  string // that an S3 name begins with; "" if none
	Base    string // the name without the bucket, in lower case
}

// region is a region of AWS, such as us-east-1, us-gov-west-1 or cn-north-1.
var region = regexp.MustCompile(`^[a-z]{2,3}(-[a-z]+){1,3}-[0-9]{1,2}$`)

// Services returns the services that names are known of, as people are told.
func Services() []string { return []string{"iot", "monitoring", "s3", "sagemaker", "sts"} }

// Parse reads a host with or without a port. It is false for any name that is
// not one of a service that Slipway serves.
func Parse(host string) (Name, bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	rest, domain := strings.CutSuffix(host, ".amazonaws.com")
	if !domain {
		if rest, domain = strings.CutSuffix(host, ".amazonaws.com.cn"); !domain {
			return Name{}, false
		}
	}
	labels := strings.Split(rest, ".")
	if slices.Contains(labels, "") {
		return Name{}, false
	}
	regional := region.MatchString(labels[len(labels)-1])
	service := labels
	if regional {
		service = labels[:len(labels)-1]
	}
	switch what := strings.Join(service, "."); {
	case what == "sts":
		return Name{Service: "sts", Base: host}, true // of all regions, too
	case regional && (what == "monitoring" || what == "iot"):
		return Name{Service: what, Base: host}, true
	case regional && (what == "api.sagemaker" || what == "runtime.sagemaker" || what == "edge.sagemaker"):
		return Name{Service: "sagemaker", Base: host}, true
	}
	return parseS3(host, service)
}

// parseS3 reads [bucket.]s3[.dualstack][.region]; a bucket may have dots.
func parseS3(host string, labels []string) (Name, bool) {
	n := len(labels)
	if n >= 2 && labels[n-1] == "dualstack" {
		n--
	}
	if n == 0 || labels[n-1] != "s3" {
		return Name{}, false
	}
	bucket := strings.Join(labels[:n-1], ".")
	if bucket == "" {
		return Name{Service: "s3", Base: host}, true
	}
	return Name{Service: "s3", Bucket: bucket, Base: host[len(bucket)+1:]}, true
}

// Bucket is the bucket that a host name of S3, or one below localhost as some
// SDKs make up, begins with, as it is written; "" if it names none. Whether that
// can be the name of a bucket is not looked at.
func Bucket(host string) string {
	if n, ok := Parse(host); ok {
		return n.Bucket
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	bucket, below := strings.CutSuffix(host, ".localhost")
	if !below {
		return ""
	}
	return bucket
}
