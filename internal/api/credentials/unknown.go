package credentials

import (
	"net/http"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
	"github.com/slipway-ml/slipway/internal/service/identity"
)

// CloseUnknown has the connections closed, after one answer, of clients whose
// certificate is none of an active device: anybody can make one up, and a device
// may keep its connection for minutes, of which there are only so many.
func CloseUnknown(ids *identity.Service, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := devicetls.Client(r); !ids.Alive(id, id) {
			w.Header().Set("Connection", "close")
		} else {
			connlimit.Prove(r.Context(), id)
		}
		next.ServeHTTP(w, r)
	})
}
