package gateway

import (
	"context"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// JetStream reads the streams of a bus.
func JetStream(b *bus.Bus) Log { return jetStream{b} }

type jetStream struct{ *bus.Bus }

func (j jetStream) Scan(ctx context.Context, stream market.Stream, fn func(bus.Msg) error) error {
	return j.ScanAll(ctx, stream, fn)
}

func (j jetStream) Read(ctx context.Context, stream market.Stream, seq uint64) (Reader, error) {
	r, err := j.Bus.Read(ctx, stream, seq)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Landed implements Log. What the stream holds no more can only have landed: the lander is far ahead of the stream's age limit or the audit is not clean.
func (j jetStream) Landed(ctx context.Context, stream market.Stream) (uint64, int64, error) {
	l, ok, err := j.Landing(ctx, stream)
	if err != nil {
		return 0, 0, err
	}
	info, err := j.Info(ctx, stream)
	if err != nil {
		return 0, 0, err
	}
	if !ok {
		return 0, info.Created.UnixNano(), nil
	}
	through := max(l.First, 1) - 1
	if info.FirstSeq > 0 {
		through = max(through, info.FirstSeq-1)
	}
	return through, l.Created, nil
}
