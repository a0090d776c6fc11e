package lander_test

import (
	"fmt"
	"slices"
)

// The parts of the model: a stream, a record, a table and landers, each as small as it can be and still fail as the real one does. docs/model.md
// explains them beside the code that they stand for.

// law says which parts of the protocol are in force. Each that is left out must be found missing.
type law struct {
	fence     bool // records are moved by compare-and-swap
	replay    bool // a newcomer lands the recorded range again, as it was cut
	intent    bool // a range is written down before it is inserted, not counted as landed
	lease     bool // no insert is begun by a lander that has not looked at its record for a while
	identity  bool // what stands already is told by the rows themselves; otherwise by their number in the range
	doubt     bool // also a retry, not only a newcomer, looks what stands already
	proof     bool // an answer behind a failed try is held against the rows; where they do not stand, they go under another token
	oldDecode bool // a range is decoded as it was when it was written down
	token     func(r entry, try int) string
}

// again is the token of a range whose tokens before it are used up.
func (l law) again(r entry, try, again int) string {
	return fmt.Sprintf("%s+%d", l.token(r, try), again)
}

func wholeLaw() law {
	return law{
		fence: true, replay: true, intent: true, lease: true, identity: true, doubt: true, proof: true, oldDecode: true,
		token: func(r entry, _ int) string { return fmt.Sprintf("%d-%d", r.first, r.last) },
	}
}

// Times are counted in inserts of the table, since that is what makes it forget tokens. A lander looks at its record every leaseTTL, an insert under
// way arrives within flight or never: together less than window.
const (
	window   = 5
	leaseTTL = 2
	flight   = 3
)

// spot is the place of an event in the stream.
type spot struct{ seq, idx int }

// modelEvent becomes a row of a partition, or a dead letter. A shifting one is dead to one version of the binary and a row to the next.
type modelEvent struct {
	partition    int
	dead, shifts bool
}

type modelMsg struct {
	events []modelEvent
	gone   bool // deleted, or aged out
}

// entry is the record's value.
type entry struct{ first, last, owner, version, n int }

// modelTable is ClickHouse: a block is stored whole, once a token and partition as long as the token is remembered.
type modelTable struct {
	rows  map[spot]int
	log   []string
	clock int
}

func (t *modelTable) insert(partition int, token string, rows []spot) {
	if t.use(partition, token) {
		for _, r := range rows {
			t.rows[r]++
		}
	}
}

// use writes a token into the log; false: it stood there.
func (t *modelTable) use(partition int, token string) bool {
	t.clock++
	id := fmt.Sprintf("%s:%d", token, partition)
	if slices.Contains(t.log, id) {
		return false
	}
	t.log = append(t.log, id)
	t.log = t.log[max(0, len(t.log)-window):]
	return true
}

// request is what a lander asks of NATS or ClickHouse. It may be carried out long after its sender has given up on it, or has died.
type request struct {
	kind      requestKind
	value     entry // swap
	revision  int
	partition int // insert
	token     string
	rows      []spot
	letter    spot
	sent      int
}

type requestKind int

const (
	swapRecord requestKind = iota
	insertBlock
	publishLetter
)

// fate of a request.
type fate int

const (
	answered   fate = iota
	answerLost      // carried out; the sender does not learn of it
	held            // under way: carried out later, if ever; the sender has given up
	refused         // not carried out, and the sender cannot tell
	halfDone        // the server dies, or fails, between its log of tokens and the rows
)

// model is the world.
type model struct {
	law     law
	stream  []modelMsg // sequence 1 is the first
	excused map[spot]bool
	record  entry
	rev     int
	table   modelTable
	letters map[spot]int
	flying  []request
	landers []*modelLander
	lives   int
}

func newModel(l law, landers int) *model {
	m := &model{law: l, excused: map[spot]bool{}, letters: map[spot]int{}, table: modelTable{rows: map[spot]int{}}}
	for range landers {
		m.landers = append(m.landers, &modelLander{m: m})
	}
	return m
}

// carryOut does a request; ok tells whether it was granted.
func (m *model) carryOut(r request) (ok bool) {
	switch r.kind {
	case swapRecord:
		if m.law.fence && m.rev != r.revision {
			return false
		}
		m.rev++
		m.record = r.value
	case insertBlock:
		if m.table.clock-r.sent >= flight {
			return false // the connection was cut long ago
		}
		m.table.insert(r.partition, r.token, r.rows)
	case publishLetter:
		m.letters[r.letter] = 1 // its subject takes one message only
	}
	return true
}

// delete takes a message out of the stream. What has not landed by then is the deleter's loss, not the lander's.
func (m *model) delete(seq int) {
	msg := &m.stream[seq-1]
	msg.gone = true
	for i := range msg.events {
		s := spot{seq, i}
		if m.table.rows[s]+m.letters[s] == 0 {
			m.excused[s] = true
		}
	}
}

// powerCut of ClickHouse's machine: rows are synced, the log of tokens is not. What was under way is gone, and more time passes than a lease lasts.
func (m *model) powerCut(forgotten int) {
	m.table.log = m.table.log[:max(0, len(m.table.log)-forgotten)]
	m.flying = slices.DeleteFunc(m.flying, func(r request) bool { return r.kind == insertBlock })
	m.table.clock += window
}

// complaint is what is wrong now: settled means that everything published must have landed, not only what the record calls landed.
func (m *model) complaint(settled bool) string {
	for i, msg := range m.stream {
		for idx := range msg.events {
			s := spot{i + 1, idx}
			switch n := m.table.rows[s] + m.letters[s]; {
			case n > 1:
				return fmt.Sprintf("doubled: event %d of message %d has %d rows and %d letters", idx, s.seq, m.table.rows[s], m.letters[s])
			case n == 0 && !m.excused[s] && (settled || s.seq < m.record.first):
				return fmt.Sprintf("lost: event %d of message %d, and the record is at %d-%d", idx, s.seq, m.record.first, m.record.last)
			}
		}
	}
	return ""
}

// modelLander is a process. It does one thing a step; between two steps anything may happen, to it too: it may be killed, or never be given a step
// again until the world has moved on.
type modelLander struct {
	m       *model
	up      bool
	life    int
	version int
	at      place
	rev     int
	rec     entry // of the range at hand
	landed  int
	next    int         // what is fetched next
	open    map[int]int // sequence -> version that decodes it: the range being built
	blocks  [][]spot    // of the range at hand, by partition
	dead    []spot
	part    int
	try     int
	doubted bool // the block at hand may stand already
	looked  bool // it was looked up
	sent    bool // the block at hand was answered: what is looked up now is whether it stands
	again   int  // tokens of the block that are used up without rows
	unsure  bool // a swap's answer is missing
	renewed int  // when the record was last known to be ours
}

type place int

const (
	lookAtRecord place = iota
	takeRecord
	readRange
	buryDead
	insertBlocks
	offerRange
	writeRecord
)

func (l *modelLander) start() {
	l.m.lives++
	*l = modelLander{m: l.m, up: true, life: l.m.lives, version: l.m.lives % 2}
}

func (l *modelLander) crash() { l.up = false }

// ask sends a request; known is false where its outcome is not.
func (l *modelLander) ask(r request, f fate) (ok, known bool) {
	r.sent = l.m.table.clock
	switch f {
	case answered:
		return l.m.carryOut(r), true
	case answerLost:
		l.m.carryOut(r)
	case held:
		l.m.flying = append(l.m.flying, r)
	case halfDone:
		if r.kind == insertBlock {
			l.m.table.use(r.partition, r.token)
		}
	case refused:
	}
	return false, false
}

type verdict int

const (
	notYet verdict = iota
	won
	beaten
)

// move writes the record down: Cell.Swap with its look-up of a write whose answer is missing.
func (l *modelLander) move(f fate) verdict {
	if l.unsure {
		l.unsure = false
		switch {
		case !l.m.law.fence || l.m.rev == l.rev:
			return notYet
		case l.m.record != l.rec:
			return beaten
		}
		l.rev, l.renewed = l.m.rev, l.m.table.clock
		return won
	}
	ok, known := l.ask(request{kind: swapRecord, value: l.rec, revision: l.rev}, f)
	if !known || !ok {
		l.unsure = true
		return notYet
	}
	l.rev, l.renewed = l.m.rev, l.m.table.clock
	return won
}

// fetch takes the next message of the stream into the range that is being built.
func (l *modelLander) fetch() bool {
	if !l.up || l.next == 0 {
		return false
	}
	for seq := l.next; seq <= len(l.m.stream); seq++ {
		if !l.m.stream[seq-1].gone {
			l.open[seq] = l.version
			l.next = seq + 1
			return true
		}
	}
	return false
}

// step does the next thing.
func (l *modelLander) step(f fate) {
	switch l.at {
	case lookAtRecord:
		l.rev, l.rec = l.m.rev, l.m.record
		if l.rev == 0 {
			l.rec = entry{first: 1, last: 0, version: l.version}
		}
		l.rec.owner, l.rec.n = l.life, 0
		l.at = takeRecord
	case takeRecord:
		switch l.move(f) {
		case won:
			l.at = readRange
		case beaten:
			l.at = lookAtRecord // the newcomer wins
		}
	case readRange:
		l.landed = l.rec.last
		if !l.m.law.intent {
			l.goOn()
			return
		}
		if !l.m.law.replay { // it is read again, but cut anew
			l.landed = l.rec.first - 1
			l.goOn()
			return
		}
		version := l.version
		if l.m.law.oldDecode {
			version = l.rec.version
		}
		seqs := map[int]int{}
		for seq := l.rec.first; seq <= l.rec.last; seq++ {
			if !l.m.stream[seq-1].gone {
				seqs[seq] = version
			}
		}
		l.decode(seqs)
		l.doubted = true
		if !l.m.law.identity && l.countStands() {
			l.blocks = nil
		}
		l.at = buryDead
	case buryDead:
		if len(l.dead) == 0 {
			l.at = insertBlocks
			return
		}
		if _, known := l.ask(request{kind: publishLetter, letter: l.dead[0]}, f); known {
			l.dead = l.dead[1:]
		}
	case insertBlocks:
		l.insert(f)
	case offerRange:
		if len(l.open) == 0 {
			return
		}
		last := 0
		for seq := range l.open {
			last = max(last, seq)
		}
		l.rec = entry{first: l.landed + 1, last: last, owner: l.life, version: l.version, n: l.rec.n + 1}
		l.decode(l.open)
		l.open = map[int]int{}
		l.doubted = false
		l.at = writeRecord
	case writeRecord:
		switch l.move(f) {
		case won:
			l.at = buryDead
		case beaten:
			l.crash() // fenced
		}
	}
}

// goOn begins to fetch behind what has landed.
func (l *modelLander) goOn() {
	if l.next == 0 {
		l.next, l.open = l.landed+1, map[int]int{}
	}
	l.at = offerRange
}

// decode makes the rows and letters of a range.
func (l *modelLander) decode(seqs map[int]int) {
	l.blocks, l.dead, l.part, l.looked = [][]spot{nil, nil}, nil, 0, false
	for seq := l.rec.first; seq <= l.rec.last; seq++ {
		version, ok := seqs[seq]
		if !ok {
			continue
		}
		for i, ev := range l.m.stream[seq-1].events {
			if ev.dead || ev.shifts && version == 0 {
				l.dead = append(l.dead, spot{seq, i})
			} else {
				l.blocks[ev.partition] = append(l.blocks[ev.partition], spot{seq, i})
			}
		}
	}
}

// countStands compares how many rows the range has with how many it should have.
func (l *modelLander) countStands() bool {
	have, want := 0, 0
	for s, n := range l.m.table.rows {
		if n > 0 && l.rec.first <= s.seq && s.seq <= l.rec.last {
			have++
		}
	}
	for _, b := range l.blocks {
		want += len(b)
	}
	return have == want
}

// insert lands the block at hand.
func (l *modelLander) insert(f fate) {
	for l.part < len(l.blocks) && len(l.blocks[l.part]) == 0 {
		l.part++
	}
	if l.part >= len(l.blocks) {
		l.landed = l.rec.last
		l.goOn()
		return
	}
	block := l.blocks[l.part]
	if l.m.law.lease && l.m.table.clock-l.renewed >= leaseTTL {
		if l.m.record.owner != l.life {
			l.crash() // another has taken over
			return
		}
		l.renewed, l.looked = l.m.table.clock, false
		return
	}
	if l.m.law.identity && l.doubted && !l.looked {
		l.looked = true
		switch {
		case !slices.ContainsFunc(block, func(s spot) bool { return l.m.table.rows[s] == 0 }):
			l.nextBlock()
		case l.sent:
			l.sent, l.again = false, l.again+1
		}
		return
	}
	l.try++
	if _, known := l.ask(request{kind: insertBlock, partition: l.part, token: l.m.law.again(l.rec, l.life<<16|l.try, l.again), rows: block}, f); !known {
		if l.m.law.doubt {
			l.doubted, l.looked = true, false
		}
		return
	}
	if l.m.law.proof && l.m.law.identity && l.doubted {
		l.sent, l.looked = true, false
		return
	}
	l.nextBlock()
}

func (l *modelLander) nextBlock() { l.part, l.looked, l.sent, l.again = l.part+1, false, false, 0 }
