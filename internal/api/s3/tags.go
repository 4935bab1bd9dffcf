package s3

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// S3's bounds on tags; lengths in characters.
const (
	maxTags     = 10
	maxTagKey   = 128
	maxTagValue = 256
)

type tag struct{ Key, Value string }

type tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	Xmlns   string   `xml:"xmlns,attr,omitempty"`
	Tags    []tag    `xml:"TagSet>Tag"`
}

func checkTag(key, value string) error {
	if n := utf8.RuneCountInString(key); n < 1 || n > maxTagKey {
		return invalid("InvalidTag", "The TagKey you have provided is invalid")
	}
	if utf8.RuneCountInString(value) > maxTagValue {
		return invalid("InvalidTag", "The TagValue you have provided is invalid")
	}
	return nil
}

func (c *call) getTags() error {
	i, err := c.store.Stat(c.r.Context(), c.bucket, c.key)
	if err != nil {
		return err
	}
	all, err := url.ParseQuery(i.Tags)
	if err != nil {
		return err // it was checked when it was put
	}
	out := tagging{Xmlns: namespace}
	for k, v := range all {
		out.Tags = append(out.Tags, tag{k, v[0]})
	}
	slices.SortFunc(out.Tags, func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
	return c.w.xml(http.StatusOK, out)
}

func (c *call) putTags() error {
	var in tagging
	if err := c.decode(&in, true); err != nil {
		return err
	}
	if len(in.Tags) > maxTags {
		return invalid("BadRequest", "Object tags cannot be greater than 10")
	}
	all := url.Values{}
	for _, t := range in.Tags {
		if err := checkTag(t.Key, t.Value); err != nil {
			return err
		}
		if all.Has(t.Key) {
			return invalid("InvalidTag", "Cannot provide multiple Tags with the same key")
		}
		all.Set(t.Key, t.Value)
	}
	if err := c.setTags(all.Encode()); err != nil {
		return err
	}
	return c.w.empty(http.StatusOK)
}

func (c *call) deleteTags() error {
	if err := c.setTags(""); err != nil {
		return err
	}
	return c.w.empty(http.StatusNoContent)
}

// setTags copies the object on itself: its record and its data are one file.
func (c *call) setTags(tags string) error {
	o, err := c.store.Open(c.r.Context(), c.bucket, c.key)
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }() // it is only read
	_, err = c.store.Copy(
		c.r.Context(), o, c.bucket, c.key, objects.Copy{Tags: &tags, If: objects.Condition{ETag: o.Info.ETag}},
	)
	return err
}
