package bus

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Shard is a part of a stream: the messages whose last subject token (the symbol, mostly) NATS's own partition function sends there. The zero
// Shard is what was stored while the stream was not cut.
//
// JetStream stores a message of a cut stream under its subject with two more tokens, how many shards there are and which it is:
// md.v1.trade.alpaca.IREN.4.2. The first keeps the messages apart that were stored before the number was changed. Publishers do not see it, and
// readers of this package give the subject as it was published.
type Shard struct{ Of, Index int }

// String is "" for a stream that is not cut, else the index and the number, such as 2/4.
func (s Shard) String() string {
	if s.Of == 0 {
		return ""
	}
	return strconv.Itoa(s.Index) + "/" + strconv.Itoa(s.Of)
}

// MaxShards of a stream.
const MaxShards = 64

// declarationOf finds a stream's declaration.
func declarationOf(stream market.Stream) (declaration, bool) {
	for _, d := range declared {
		if d.stream == stream {
			return d, true
		}
	}
	return declaration{}, false
}

// Cuttable reports whether a stream can be cut into shards: all its subjects are of one pattern that ends with what tells its series apart.
func Cuttable(stream market.Stream) bool {
	d, ok := declarationOf(stream)
	return ok && d.cuttable()
}

func (d declaration) cuttable() bool {
	return len(d.subjects) == 1 && strings.HasSuffix(d.subjects[0], ".*")
}

// transform is the subject transform of a stream that is cut into n shards; nil for one that is not.
func (d declaration) transform(n int) *jetstream.SubjectTransformConfig {
	if n <= 1 {
		return nil
	}
	dest, wildcards := "", 0
	for i, token := range strings.Split(d.subjects[0], ".") {
		if i > 0 {
			dest += "."
		}
		if token == "*" {
			wildcards++
			token = fmt.Sprintf("{{wildcard(%d)}}", wildcards)
		}
		dest += token
	}
	return &jetstream.SubjectTransformConfig{Source: d.subjects[0], Destination: fmt.Sprintf("%s.%d.{{partition(%d,%d)}}", dest, n, n, wildcards)}
}

// shardsOf reads the number of shards out of a transform that transform has made; 0: not cut.
func shardsOf(t *jetstream.SubjectTransformConfig) int {
	if t == nil {
		return 0
	}
	tokens := strings.Split(t.Destination, ".")
	if len(tokens) < 2 {
		return 0
	}
	n, err := strconv.Atoi(tokens[len(tokens)-2])
	if err != nil || n < 2 || n > MaxShards {
		return 0
	}
	return n
}

// filter selects the shard's messages.
func (d declaration) filter(s Shard) string {
	if s.Of == 0 {
		if len(d.subjects) == 1 {
			return d.subjects[0]
		}
		return Prefix + ">"
	}
	return fmt.Sprintf("%s.%d.%d", d.subjects[0], s.Of, s.Index)
}

// stored are the filters under which messages of the given ones are stored, whether the stream is cut or not.
func (d declaration) stored(filters []string) []string {
	if !d.cuttable() {
		return filters
	}
	out := make([]string, 0, 2*len(filters))
	for _, f := range filters {
		out = append(out, f)
		if !strings.HasSuffix(f, ">") {
			out = append(out, f+".*.*")
		}
	}
	return out
}

// published is the subject of a stored message as its publisher named it.
func (d declaration) published(subject string) string {
	if !d.cuttable() || strings.Count(subject, ".") != strings.Count(d.subjects[0], ".")+2 {
		return subject
	}
	cut := strings.LastIndexByte(subject, '.')
	return subject[:strings.LastIndexByte(subject[:cut], '.')]
}
