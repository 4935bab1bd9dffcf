package s3

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// maxXML bounds a document that a client sends, in bytes: ten thousand parts
// with their checksums, or a thousand keys of the longest.
const maxXML = 4 << 20

// decode reads the request's XML, to its end: what stands there is signed.
func (c *call) decode(v any, needed bool) error {
	text, err := io.ReadAll(io.LimitReader(c.r.Body, maxXML+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxXML:
		return invalid("MaxMessageLengthExceeded", "Your request was too large.")
	case len(text) == 0 && !needed:
		return nil
	}
	bounded := &boundedXML{from: xml.NewDecoder(bytes.NewReader(text)), tokens: maxTokens}
	if err := xml.NewTokenDecoder(bounded).Decode(v); err != nil {
		return malformedXML()
	}
	return nil
}

func malformedXML() error {
	return invalid(
		"MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema",
	)
}

// What a document of S3's may have at most. The parser spends more on depth and
// on tokens than on length.
const (
	maxDepth  = 16
	maxTokens = 400_000 // ten thousand parts with everything that they may say
)

// boundedXML hands on tokens until there are too many.
type boundedXML struct {
	from          *xml.Decoder
	depth, tokens int
}

// Token returns the next token as it stands in the document.
func (b *boundedXML) Token() (xml.Token, error) {
	t, err := b.from.RawToken()
	switch t.(type) {
	case xml.StartElement:
		b.depth++
	case xml.EndElement:
		b.depth--
	}
	if b.tokens--; err == nil && (b.tokens < 0 || b.depth > maxDepth) {
		return nil, errors.New("the document is too deep or has too many parts")
	}
	return t, err
}

// tokenOf is the token of the page that begins after a key: the key in base 64,
// because clients may not look into it.
func tokenOf(key string) string { return base64.URLEncoding.EncodeToString([]byte(key)) }

func (c *call) token() (string, error) {
	b, err := base64.URLEncoding.DecodeString(c.query.Get("continuation-token"))
	if err != nil || !utf8.Valid(b) {
		return "", badToken(c.query.Get("continuation-token"))
	}
	return string(b), nil
}

func badToken(token string) error {
	return argument("continuation-token", token, "The continuation token provided is incorrect")
}

type content struct {
	Key               text
	LastModified      timestamp
	ETag              string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
	Size              int64
	StorageClass      string
	Owner             *owner `xml:",omitempty"`
}

type commonPrefix struct{ Prefix text }

type listResult struct {
	XMLName        xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name           string
	Prefix         text
	Delimiter      text `xml:",omitempty"`
	MaxKeys        int
	EncodingType   string `xml:",omitempty"`
	IsTruncated    bool
	Contents       []content
	CommonPrefixes []commonPrefix

	// Version 1.
	Marker     *text `xml:",omitempty"`
	NextMarker text  `xml:",omitempty"`

	// Version 2.
	KeyCount              *int   `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	StartAfter            text   `xml:",omitempty"`
}

// encoding returns how keys are to be written.
func (c *call) encoding() (func(string) text, error) {
	switch asked := c.query.Get("encoding-type"); {
	case !c.query.Has("encoding-type"):
		return func(s string) text { return text(s) }, nil
	case asked == "url":
		return func(s string) text { return text(encodeKey(s)) }, nil
	default:
		return nil, argument("encoding-type", asked, "Invalid Encoding Method specified in Request")
	}
}

// list does what both versions share. It returns the marker of the next page.
func (c *call) list(after string, owned bool) (*listResult, func(string) text, string, error) {
	encode, err := c.encoding()
	if err != nil {
		return nil, nil, "", err
	}
	limit, err := c.count("max-keys", objects.MaxList, objects.MaxList)
	if err != nil {
		return nil, nil, "", err
	}
	l := objects.List{Prefix: c.query.Get("prefix"), Delimiter: c.query.Get("delimiter"), After: after, Max: limit}
	var page objects.Page
	if limit == 0 {
		_, err = c.store.HeadBucket(c.r.Context(), c.bucket)
	} else {
		page, err = c.store.List(c.r.Context(), c.bucket, l)
	}
	if err != nil {
		return nil, nil, "", err
	}
	out := &listResult{
		Name: c.bucket, Prefix: encode(l.Prefix), Delimiter: encode(l.Delimiter), MaxKeys: limit,
		EncodingType: c.query.Get("encoding-type"), IsTruncated: page.Next != "",
	}
	var who *owner
	if owned {
		who = c.owner()
	}
	for _, o := range page.Objects {
		out.Contents = append(out.Contents, content{
			Key: encode(o.Key), LastModified: timestamp(o.Modified), ETag: quote(o.ETag),
			ChecksumAlgorithm: string(o.Algorithm),
			ChecksumType:      o.ChecksumType, Size: o.Size, StorageClass: classOf(o.Header), Owner: who,
		})
	}
	for _, p := range page.Prefixes {
		out.CommonPrefixes = append(out.CommonPrefixes, commonPrefix{encode(p)})
	}
	return out, encode, page.Next, nil
}

func (c *call) listObjects() error {
	if c.query.Has("list-type") { // and it is not 2
		return argument("list-type", c.query.Get("list-type"), "Invalid List Type specified in Query")
	}
	marker := c.query.Get("marker")
	out, encode, next, err := c.list(marker, true)
	if err != nil {
		return err
	}
	out.Marker = new(encode(marker))
	out.NextMarker = encode(next)
	return c.w.xml(http.StatusOK, out)
}

func (c *call) listObjectsV2() error {
	start := c.query.Get("start-after")
	after := start
	token, err := c.token()
	if err != nil {
		return err
	}
	if c.query.Has("continuation-token") {
		if token == "" { // or a loop over pages that lost its token would begin again for ever
			return badToken("")
		}
		after, start = token, "" // which is not looked at, and not said again
	}
	out, encode, next, err := c.list(after, c.query.Get("fetch-owner") == "true")
	if err != nil {
		return err
	}
	out.StartAfter = encode(start)
	out.ContinuationToken = c.query.Get("continuation-token")
	out.KeyCount = new(len(out.Contents) + len(out.CommonPrefixes))
	if next != "" {
		out.NextContinuationToken = tokenOf(next)
	}
	return c.w.xml(http.StatusOK, out)
}

// encodeKey writes a key so that XML can hold it and every client reads it back.
func encodeKey(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch ch := s[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9',
			strings.IndexByte("-._~/", ch) >= 0:
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[ch>>4])
			b.WriteByte(hex[ch&15])
		}
	}
	return b.String()
}

func quote(etag string) string { return `"` + etag + `"` }

func unquote(etag string) string { return strings.Trim(strings.TrimSpace(etag), `"`) }

type deleteRequest struct {
	XMLName xml.Name `xml:"Delete"`
	Quiet   bool
	Object  []struct {
		Key              string
		VersionID        string `xml:"VersionId"`
		ETag             *string
		LastModifiedTime string
		Size             string
	}
}

type deleted struct{ Key text }

type notDeleted struct {
	Key           text
	Code, Message string
}

type deleteResult struct {
	XMLName xml.Name     `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
	Deleted []deleted    `xml:"Deleted"`
	Error   []notDeleted `xml:"Error"`
}

func (c *call) deleteObjects() error {
	var in deleteRequest
	if err := c.decode(&in, true); err != nil {
		return err
	}
	if len(in.Object) == 0 || len(in.Object) > objects.MaxList {
		return malformedXML()
	}
	if _, err := c.store.HeadBucket(c.r.Context(), c.bucket); err != nil {
		return err
	}
	var out deleteResult
	for _, o := range in.Object {
		err := c.r.Context().Err()
		switch {
		case err != nil:
			return err
		case o.VersionID != "" && o.VersionID != "null":
			err = &apiError{
				status: http.StatusNotFound, code: "NoSuchVersion", message: "The specified version does not exist.",
			}
		default:
			var cond objects.Condition
			if cond, err = deleteCondition(optional(o.ETag), o.LastModifiedTime, o.Size); err == nil {
				err = c.store.Delete(c.r.Context(), c.bucket, o.Key, cond)
			}
		}
		if err == nil {
			if !in.Quiet {
				out.Deleted = append(out.Deleted, deleted{text(o.Key)})
			}
			continue
		}
		e := answer(err)
		if e.status == http.StatusInternalServerError {
			c.log.ErrorContext(c.r.Context(), "object not deleted", "bucket", c.bucket, "err", err)
		}
		out.Error = append(out.Error, notDeleted{text(o.Key), e.code, e.message})
	}
	return c.w.xml(http.StatusOK, out)
}

// optional is what a header would be of an element that may be absent.
func optional(element *string) []string {
	if element == nil {
		return nil
	}
	return []string{*element}
}
