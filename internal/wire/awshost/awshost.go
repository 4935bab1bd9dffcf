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
	Service string // sagemaker, sts, monitoring, s3, iot or Credentials
	Bucket  string // that an S3 name begins with; "" if none
	Base    string // the name without the bucket, in lower case
}

// Credentials is the service of names like <id>.credentials.iot.<region>.amazonaws.com,
// by which devices reach the credentials provider, with their certificates.
const Credentials = "credentials.iot"

// region is a region of any partition of AWS, by the patterns that its SDKs know
// them by: us-east-1, us-gov-west-1, cn-north-1, us-isob-east-1, eusc-de-east-1.
var region = regexp.MustCompile(
	`^(us|eu|ap|sa|ca|me|af|il|mx|cn|us-gov|us-iso[bf]?|eu-isoe|eusc-de)-[a-z]+-[0-9]+$`)

// Services returns the services that names are known of, as people are told.
func Services() []string { return []string{"iot", "monitoring", "s3", "sagemaker", "sts"} }

// Parse reads a host with or without a port. It is false for any name that is
// not one of a service that Slipway serves.
func Parse(host string) (Name, bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, domain := range Domains() {
		rest, below := strings.CutSuffix(host, "."+domain)
		if !below {
			continue
		}
		labels := strings.Split(rest, ".")
		if slices.Contains(labels, "") {
			return Name{}, false
		}
		if strings.HasPrefix(domain, "api.") {
			return parseDualStack(host, labels)
		}
		return parse(host, labels)
	}
	return Name{}, false
}

// Domains returns those that all names are below.
func Domains() []string {
	return []string{
		"amazonaws.com", "amazonaws.com.cn", "amazonaws.eu",
		"api.aws", "api.amazonwebservices.com.cn", "api.amazonwebservices.eu",
	}
}

// parse reads what is before amazonaws.com.
func parse(host string, labels []string) (Name, bool) {
	service := labels
	regional := region.MatchString(labels[len(labels)-1])
	if regional {
		service = labels[:len(labels)-1]
	}
	switch what := plain(service); {
	case what == "sts" && (regional || service[0] == "sts"):
		return Name{Service: "sts", Base: host}, true // of all regions, too
	case regional && known[what] != "":
		return Name{Service: known[what], Base: host}, true
	case regional && len(service) == 3 && service[1] == "credentials" && service[2] == "iot":
		return Name{Service: Credentials, Base: host}, true
	}
	return parseS3(host, service)
}

// parseDualStack reads <service>.<region> before api.aws. S3's names of both stacks
// are in the other domain.
func parseDualStack(host string, labels []string) (Name, bool) {
	last := len(labels) - 1
	service := known[plain(labels[:last])]
	if !region.MatchString(labels[last]) || service == "" {
		return Name{}, false
	}
	return Name{Service: service, Base: host}, true
}

// known are the services by the beginning of their names in a region, without what
// says that FIPS 140 holds.
var known = map[string]string{
	"sts": "sts", "monitoring": "monitoring", "iot": "iot",
	"api.sagemaker": "sagemaker", "runtime.sagemaker": "sagemaker", "edge.sagemaker": "sagemaker",
	"sagemaker": "sagemaker",
}

// plain joins the labels of a service, the first of them without its -fips.
func plain(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	return strings.Join(append([]string{strings.TrimSuffix(labels[0], "-fips")}, labels[1:]...), ".")
}

// parseS3 reads [bucket.]s3[-fips][.dualstack][.region]; a bucket may have dots.
func parseS3(host string, labels []string) (Name, bool) {
	n := len(labels)
	if n >= 2 && labels[n-1] == "dualstack" {
		n--
	}
	if n == 0 || labels[n-1] != "s3" && labels[n-1] != "s3-fips" {
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
