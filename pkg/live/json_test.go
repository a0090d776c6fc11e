package live_test

import (
	"math"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// A table keeps the sign of a zero, a message of the stream does not: history said -0 where live said 0.
func TestZeroHasNoSign(t *testing.T) {
	text := string(live.AppendJSON(nil, &market.Difficulty{EstimatedChangePercent: math.Copysign(0, -1)}, market.Place{Stream: market.Network, Seq: 1}))
	if !strings.Contains(text, `"estimated_change_percent":0`) {
		t.Errorf("got %s", text)
	}
}
