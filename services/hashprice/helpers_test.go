package hashprice

import (
	"context"
	"net/http"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/mempool"
)

func httpClient(t *testing.T) *http.Client {
	t.Helper()
	c := &http.Client{}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func fault429() mempool.Fault {
	return mempool.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}, Body: "Too many requests"}
}
func fault500() mempool.Fault  { return mempool.Fault{Status: 503, Body: "Service Unavailable"} }
func truncated() mempool.Fault { return mempool.Fault{Body: `[{"id":"0000`, Truncate: true} }
func garbage() mempool.Fault   { return mempool.Fault{Body: "<html>sorry</html>"} }

func newCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

func pageLoop() control.Order { return control.Order{Fault: control.PageLoop} }
