package child

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestMessage(t *testing.T) {
	b := AppendMessage(nil, time.Now(), 7)
	if len(b) != 110 || !json.Valid(b) || strings.Count(string(b), Marker) != 1 {
		t.Errorf("%d bytes: %s", len(b), b)
	}
}
