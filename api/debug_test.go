package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestDebugVarsAreOffByDefault(t *testing.T) {
	for debug, want := range map[bool]int{false: http.StatusNotFound, true: http.StatusOK} {
		w := httptest.NewRecorder()
		newServer(nil, Options{Debug: debug}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/vars", nil))
		if w.Code != want {
			t.Errorf("debug %t: status %d, want %d: %s", debug, w.Code, want, w.Body)
		}
	}
}
