package s3

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// text is a name in a document. What no document of XML may hold, but a key may,
// is written by its number, as S3 does: a reader refuses the document or reads
// the name, and takes it for no other one.
type text string

// MarshalXML writes the name as an element.
func (t text) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return e.EncodeElement(struct {
		Inner string `xml:",innerxml"`
	}{t.escaped()}, start)
}

func (t text) escaped() string {
	var b strings.Builder
	for _, r := range string(t) {
		switch {
		case r < ' ' || strings.ContainsRune("&<>\"'\uFFFE\uFFFF", r):
			fmt.Fprintf(&b, "&#x%X;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
