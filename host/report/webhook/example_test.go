package webhook_test

import (
	"crypto/hmac"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/backplane/leptir/host/report/webhook"
)

// What a receiver does that trusts nobody but the holder of the secret. It should also
// refuse a timestamp that is minutes away from its clock.
func ExampleSign() {
	const secret = "keep this to yourself"
	receive := func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(http.MaxBytesReader(w, req.Body, 16<<20))
		want := webhook.Sign(secret, req.Header.Get(webhook.HeaderTimestamp), body)
		if !hmac.Equal([]byte(want), []byte(req.Header.Get(webhook.HeaderSignature))) {
			http.Error(w, "wrong signature", http.StatusForbidden)
			return
		}
		var delivery struct {
			Reports []struct{ Message string }
		}
		if json.Unmarshal(body, &delivery) == nil {
			fmt.Println(delivery.Reports[0].Message)
		}
	}

	body := `{"version":1,"reports":[{"message":"process died of SIGSEGV"}]}`
	req := httptest.NewRequest("POST", "/", strings.NewReader(body))
	req.Header.Set(webhook.HeaderTimestamp, "1790000000")
	req.Header.Set(webhook.HeaderSignature, webhook.Sign(secret, "1790000000", []byte(body)))
	receive(httptest.NewRecorder(), req)
	// Output: process died of SIGSEGV
}
