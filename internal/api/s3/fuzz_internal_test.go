package s3

import (
	"bytes"
	"encoding/xml"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// A document is read as encoding/xml alone reads it, or refused; refused is only what
// that refuses, too, and what is too deep, too long or has too many parts.
func FuzzDocumentsAreReadInBounds(f *testing.F) {
	for _, s := range []string{
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part>" +
			"</CompleteMultipartUpload>",
		`<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Part>` +
			`<ChecksumCRC32>x</ChecksumCRC32><ChecksumTaste>y</ChecksumTaste></Part></CompleteMultipartUpload>`,
		strings.Repeat("<a>", 40) + strings.Repeat("</a>", 40), strings.Repeat("<a>", 16) + strings.Repeat("</a>", 16),
		"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><CompleteMultipartUpload>&b;</CompleteMultipartUpload>",
		"<CompleteMultipartUpload/>", "<a></b>", "<CompleteMultipartUpload><Part></CompleteMultipartUpload></Part>",
		"<CompleteMultipartUpload><![CDATA[x]]></CompleteMultipartUpload>trailing", "<x:CompleteMultipartUpload/>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(text))
		var got, want completeRequest
		err := (&call{r: r}).decode(&got, true)
		plain := xml.Unmarshal(text, &want)
		deep := depthOf(text) > maxDepth
		switch {
		case err == nil && plain != nil:
			t.Fatalf("taken, though: %v", plain)
		case err == nil && !reflect.DeepEqual(got, want):
			t.Fatalf("read as %+v, and by itself as %+v", got, want)
		case err != nil && plain == nil && !deep && len(text) <= maxXML:
			t.Fatalf("refused: %v", err)
		case err == nil && deep:
			t.Fatal("it is deeper than may be")
		}
	})
}

// depthOf counts how deep the elements of what is read are.
func depthOf(text []byte) (deepest int) {
	d, depth := xml.NewDecoder(bytes.NewReader(text)), 0
	for {
		t, err := d.Token()
		if err != nil {
			return deepest
		}
		switch t.(type) {
		case xml.StartElement:
			depth++
			deepest = max(deepest, depth)
		case xml.EndElement:
			if depth--; depth == 0 {
				return deepest // the rest is not read
			}
		}
	}
}

// The source of a copy is the object that was meant, however it is written, or none.
func FuzzTheSourceOfACopyIsTheOneThatWasMeant(f *testing.F) {
	for _, s := range [][2]string{
		{"bucket", "key"},
		{"b", "a/b c+d%?versionId=x"},
		{"b", "/"},
		{"b", "ü\x00"},
		{"", "k"},
		{"a/b", "c"},
		{"%2F", "%"},
	} {
		f.Add(s[0], s[1], s[0]+"/"+s[1])
	}
	f.Fuzz(func(t *testing.T, bucket, key, header string) {
		if bucket != "" && key != "" && !strings.Contains(bucket, "/") {
			for _, written := range []string{
				url.QueryEscape(bucket + "/" + key), "/" + escapeAll(bucket) + "/" + escapeAll(key),
				url.QueryEscape(bucket) + "/" + url.QueryEscape(key) + "?versionId=null",
			} {
				b, k, err := copySource(written)
				if err != nil || b != bucket || k != key {
					t.Errorf("%q is read as %q and %q: %v", written, b, k, err)
				}
			}
		}
		b, k, err := copySource(header)
		if err != nil {
			return
		}
		again, key2, err := copySource(url.QueryEscape(b) + "/" + url.QueryEscape(k))
		if err != nil || again != b || key2 != k || b == "" || k == "" || strings.Contains(b, "/") {
			t.Errorf("%q is %q and %q, and those are %q and %q: %v", header, b, k, again, key2, err)
		}
	})
}

func escapeAll(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
