package s3

import (
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// S3's bounds on tags; lengths in characters.
const (
	maxTags       = 10
	maxBucketTags = 50
	maxTagKey     = 128
	maxTagValue   = 256
)

type tag struct{ Key, Value string }

type tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	Xmlns   string   `xml:"xmlns,attr,omitempty"`
	Set     *tagSet  `xml:"TagSet"`
}

type tagSet struct {
	Tags []tag `xml:"Tag"`
}

// systemTag begins the keys of tags that AWS sets itself.
const systemTag = "aws:"

// notInTags reports the characters that S3 does not take in tags.
func notInTags(r rune) bool {
	return !unicode.In(r, unicode.L, unicode.N, unicode.Z) && !strings.ContainsRune("_.:/=+-@", r)
}

func checkTag(key, value string) error {
	refusal := func(message string) error {
		return &apiError{
			http.StatusBadRequest, "InvalidTag", message, []member{{"TagKey", key}, {"TagValue", value}},
		}
	}
	n := utf8.RuneCountInString(key)
	switch {
	case n < 1 || n > maxTagKey || strings.ContainsFunc(key, notInTags):
		return refusal("The TagKey you have provided is invalid")
	case utf8.RuneCountInString(value) > maxTagValue || strings.ContainsFunc(value, notInTags):
		return refusal("The TagValue you have provided is invalid")
	case strings.HasPrefix(strings.ToLower(key), systemTag):
		return refusal("Your TagKey cannot be prefixed with aws:")
	}
	return nil
}

// encodeTags checks a set of tags, and writes it as it is stored.
func encodeTags(tags []tag) (string, error) {
	all := url.Values{}
	for _, t := range tags {
		if err := checkTag(t.Key, t.Value); err != nil {
			return "", err
		}
		if all.Has(t.Key) {
			return "", invalid("InvalidTag", "Cannot provide multiple Tags with the same key")
		}
		all.Set(t.Key, t.Value)
	}
	return all.Encode(), nil
}

// writeTags answers with tags as they are stored.
func (c *call) writeTags(tags string) error {
	all, err := url.ParseQuery(tags)
	if err != nil {
		return err // it was checked when it was put
	}
	out := tagging{Xmlns: namespace, Set: &tagSet{}}
	for k, v := range all {
		out.Set.Tags = append(out.Set.Tags, tag{k, v[0]})
	}
	slices.SortFunc(out.Set.Tags, func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
	return c.w.xml(http.StatusOK, out)
}

func (c *call) getTags() error {
	i, err := c.store.Stat(c.r.Context(), c.bucket, c.key)
	if err != nil {
		return err
	}
	return c.writeTags(i.Tags)
}

func (c *call) putTags() error {
	tags, err := c.readTags(maxTags, "Object tags cannot be greater than 10")
	if err != nil {
		return err
	}
	if err := c.setTags(tags); err != nil {
		return err
	}
	return c.w.empty(http.StatusOK)
}

func (c *call) readTags(most int, tooMany string) (string, error) {
	var in tagging
	if err := c.decode(&in, true); err != nil {
		return "", err
	}
	switch {
	case in.Set == nil: // or a document of something else would delete them all
		return "", malformedXML()
	case len(in.Set.Tags) > most:
		return "", invalid("BadRequest", tooMany)
	}
	return encodeTags(in.Set.Tags)
}

func (c *call) getBucketTags() error {
	b, err := c.store.HeadBucket(c.r.Context(), c.bucket)
	if err != nil {
		return err
	}
	if b.Tags == "" {
		return &apiError{status: http.StatusNotFound, code: "NoSuchTagSet", message: "The TagSet does not exist"}
	}
	return c.writeTags(b.Tags)
}

func (c *call) putBucketTags() error {
	tags, err := c.readTags(maxBucketTags, "Bucket tag count cannot be greater than 50")
	if e, ok := errors.AsType[*apiError](err); ok && strings.Contains(e.message, systemTag) { // in other words
		e.message = "System tags cannot be added/updated by requester"
	}
	if err != nil {
		return err
	}
	if err := c.store.TagBucket(c.r.Context(), c.bucket, tags); err != nil {
		return err
	}
	return c.w.empty(http.StatusNoContent)
}

func (c *call) deleteBucketTags() error {
	if err := c.store.TagBucket(c.r.Context(), c.bucket, ""); err != nil {
		return err
	}
	return c.w.empty(http.StatusNoContent)
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
