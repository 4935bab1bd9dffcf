package sigv4

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// macV2 is Version 2's signature: HMAC-SHA1 in base 64.
func macV2(secret, text string) string {
	h := hmac.New(sha1.New, []byte(secret))
	_, _ = h.Write([]byte(text)) // a hash never fails
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// amzHeaders returns the x-amz-* headers as Version 2 signs them, those that
// the query carries included, and the session token among them.
func amzHeaders(r *http.Request) (text, token string) {
	all := map[string]string{}
	for _, from := range []map[string][]string{r.URL.Query(), r.Header} {
		for name, values := range from {
			if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
				all[name] = strings.Join(values, ",")
			}
		}
	}
	var b strings.Builder
	for _, name := range sortedKeys(all) {
		b.WriteString(name + ":" + all[name] + "\n")
	}
	return b.String(), all["x-amz-security-token"]
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
