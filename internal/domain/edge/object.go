package edge

import "strings"

// ObjectAccess is what a device wants of an object.
type ObjectAccess string

// The kinds of access that devices may have.
const (
	ReadObject   ObjectAccess = "GET"      // read it, or learn how long it is
	WriteObject  ObjectAccess = "PUT"      // write it, whole
	LocateBucket ObjectAccess = "LOCATION" // learn in which region its bucket is; Key is ""
)

// ObjectRequest is a device's request for an object of S3.
type ObjectRequest struct {
	Access      ObjectAccess
	Bucket, Key string
}

// URL returns the object's s3:// address.
func (r ObjectRequest) URL() string { return "s3://" + r.Bucket + "/" + r.Key }

// FleetOfAlias returns the fleet that a role alias was made for; "" if it is
// another alias.
func FleetOfAlias(alias string) string {
	fleet, ok := strings.CutPrefix(alias, AliasName(""))
	if !ok {
		return ""
	}
	return fleet
}

// Collects reports whether devices of the fleet need what r asks for to write
// below the fleet's output location.
func (f Fleet) Collects(r ObjectRequest) bool {
	out := strings.TrimSuffix(f.Output.S3Location, "/") + "/"
	switch r.Access {
	case WriteObject:
		return strings.HasPrefix(r.URL(), out)
	case LocateBucket:
		return strings.HasPrefix(out, "s3://"+r.Bucket+"/")
	case ReadObject:
	}
	return false
}
