package s3

import (
	"encoding/xml"
	"net/http"
)

// version is an object in a listing of versions: each has one.
type version struct {
	Key               text
	VersionID         string `xml:"VersionId"`
	IsLatest          bool
	LastModified      timestamp
	ETag              string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
	Size              int64
	StorageClass      string
	Owner             *owner
}

type versionsResult struct {
	XMLName             xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListVersionsResult"`
	Name                string
	Prefix              text
	KeyMarker           text
	VersionIDMarker     string `xml:"VersionIdMarker"`
	NextKeyMarker       text   `xml:",omitempty"`
	NextVersionIDMarker string `xml:"NextVersionIdMarker,omitempty"`
	MaxKeys             int
	Delimiter           text   `xml:",omitempty"`
	EncodingType        string `xml:",omitempty"`
	IsTruncated         bool
	Version             []version
	CommonPrefixes      []commonPrefix
}

// nullVersion is the id of an object's version in a bucket without versions.
const nullVersion = "null"

// listVersions lists the objects of a bucket that never had versions.
func (c *call) listVersions() error {
	marker, id := c.query.Get("key-marker"), c.query.Get("version-id-marker")
	switch {
	case id != "" && marker == "":
		return argument("version-id-marker", id, "A version-id marker cannot be specified without a key marker.")
	case id != "" && id != nullVersion:
		return argument("version-id-marker", id, "Invalid version id specified")
	}
	l, encode, next, err := c.list(marker, true)
	if err != nil {
		return err
	}
	out := versionsResult{
		Name: l.Name, Prefix: l.Prefix, KeyMarker: encode(marker), VersionIDMarker: id, NextKeyMarker: encode(next),
		MaxKeys: l.MaxKeys, Delimiter: l.Delimiter, EncodingType: l.EncodingType, IsTruncated: l.IsTruncated,
		CommonPrefixes: l.CommonPrefixes,
	}
	for _, o := range l.Contents {
		out.Version = append(out.Version, version{
			o.Key, nullVersion, true, o.LastModified, o.ETag, o.ChecksumAlgorithm, o.ChecksumType, o.Size,
			o.StorageClass, o.Owner,
		})
		if next != "" && o.Key == out.NextKeyMarker {
			out.NextVersionIDMarker = nullVersion
		}
	}
	return c.w.xml(http.StatusOK, out)
}
