package native

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Packets that clients send.
const (
	ClientHello  = 0
	ClientQuery  = 1
	ClientData   = 2
	ClientCancel = 3
	ClientPing   = 4
)

// Packets that servers send.
const (
	ServerHello       = 0
	ServerData        = 1
	ServerException   = 2
	ServerProgress    = 3
	ServerPong        = 4
	ServerEndOfStream = 5
	ServerProfileInfo = 6
	ServerTotals      = 7
	ServerExtremes    = 8

	ServerProfileEvents = 14
)

// Revision is the protocol revision that is answered truthfully, and the highest that a client to test it with was had for. Beyond it packets come in
// chunks.
const Revision = 54468

// Revisions at which the packets used here changed.
const (
	revClientInfo        = 54032
	revTimezone          = 54058
	revQuotaKeyInInfo    = 54060
	revDisplayName       = 54372
	revVersionPatch      = 54401
	revClientWriteInfo   = 54420
	revSettingsAsStrings = 54429
	revInterserverSecret = 54441
	revOpenTelemetry     = 54442
	revDistributedDepth  = 54448
	revInitialQueryStart = 54449
	revParallelReplicas  = 54453
	revCustomSerial      = 54454
	revEventsInInsert    = 54456
	revAddendum          = 54458
	revParameters        = 54459
	revElapsed           = 54460
	revPasswordRules     = 54461
	revNonce             = 54462
	revTotalBytes        = 54463
)

// MinRevision is the oldest client that is understood: those of 2018, such as Debian's.
const MinRevision = revDisplayName

const (
	maxShort = 1 << 20  // names, users, setting values
	maxQuery = 64 << 20 // a query's text with inline data
	maxItems = 10_000   // settings or parameters of one query
)

// Reader reads what clients send.
type Reader struct{ *bufio.Reader }

// Uvarint reads a number.
func (r Reader) Uvarint() (uint64, error) {
	v, err := binary.ReadUvarint(r.Reader)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !isNet(err) {
		return 0, malformed("number too long")
	}
	return v, err
}

func isNet(err error) bool {
	_, ok := err.(interface{ Timeout() bool })
	return ok
}

// Str reads a string of up to limit bytes.
func (r Reader) Str(limit int) (string, error) {
	n, err := r.Uvarint()
	if err != nil {
		return "", err
	}
	if n > uint64(limit) {
		return "", malformed("string of %d bytes, at most %d are allowed here", n, limit)
	}
	// Room is made as data arrives, not as it is promised.
	var b []byte
	for left := int(n); left > 0; {
		k := min(left, 64<<10)
		at := len(b)
		b = append(b, make([]byte, k)...)
		if _, err := io.ReadFull(r.Reader, b[at:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		left -= k
	}
	return string(b), nil
}

func (r Reader) discard(n int) error {
	_, err := r.Discard(n)
	return err
}

// Hello is a client's first packet.
type Hello struct {
	ClientName               string
	Major, Minor, Revision   uint64
	Database, User, Password string
}

// Hello reads the packet behind its number.
func (r Reader) Hello() (Hello, error) {
	var h Hello
	var err error
	read := func(s *string) {
		if err == nil {
			*s, err = r.Str(maxShort)
		}
	}
	num := func(v *uint64) {
		if err == nil {
			*v, err = r.Uvarint()
		}
	}
	read(&h.ClientName)
	num(&h.Major)
	num(&h.Minor)
	num(&h.Revision)
	read(&h.Database)
	read(&h.User)
	read(&h.Password)
	if err != nil {
		return h, fmt.Errorf("read hello: %w", err)
	}
	return h, nil
}

// Query is a client's query packet, with what is of use here.
type Query struct {
	ID          string
	Body        string
	Compression bool
	Settings    []Setting
	Params      []Setting // values still quoted as field dumps
}

// Setting is a name with its value and flags.
type Setting struct {
	Name, Value string
	Flags       uint64
}

// SettingImportant marks a setting that the server must know.
const SettingImportant = 1

// Query reads the packet behind its number, as of the given revision.
func (r Reader) Query(rev uint64, settingType func(name string) string) (Query, error) {
	var q Query
	err := r.query(&q, rev, settingType)
	if err != nil {
		return q, fmt.Errorf("read query packet: %w", err)
	}
	return q, nil
}

func (r Reader) query(q *Query, rev uint64, settingType func(name string) string) (err error) {
	if q.ID, err = r.Str(maxShort); err != nil {
		return err
	}
	if rev >= revClientInfo {
		if err := r.clientInfo(rev); err != nil {
			return err
		}
	}
	if rev < revSettingsAsStrings {
		q.Settings, err = r.typedSettings(settingType)
	} else {
		q.Settings, err = r.settings()
	}
	if err != nil {
		return err
	}
	if rev >= revInterserverSecret {
		if _, err := r.Str(maxShort); err != nil {
			return err
		}
	}
	if _, err := r.Uvarint(); err != nil { // stage
		return err
	}
	compression, err := r.Uvarint()
	if err != nil {
		return err
	}
	q.Compression = compression != 0
	if q.Body, err = r.Str(maxQuery); err != nil {
		return err
	}
	if rev >= revParameters {
		if q.Params, err = r.settings(); err != nil {
			return err
		}
	}
	return nil
}

// clientInfo passes who asks; nothing of it is used.
func (r Reader) clientInfo(rev uint64) error {
	kind, err := r.ReadByte()
	if err != nil {
		return err
	}
	if kind == 0 {
		return nil
	}
	for range 3 { // initial user, query id, address
		if _, err := r.Str(maxShort); err != nil {
			return err
		}
	}
	if rev >= revInitialQueryStart {
		if err := r.discard(8); err != nil {
			return err
		}
	}
	iface, err := r.ReadByte()
	if err != nil {
		return err
	}
	if iface != 1 {
		return malformed("client info of interface %d", iface)
	}
	for range 3 { // os user, host name, client name
		if _, err := r.Str(maxShort); err != nil {
			return err
		}
	}
	for range 3 { // version major, minor, revision
		if _, err := r.Uvarint(); err != nil {
			return err
		}
	}
	if rev >= revQuotaKeyInInfo {
		if _, err := r.Str(maxShort); err != nil {
			return err
		}
	}
	if rev >= revDistributedDepth {
		if _, err := r.Uvarint(); err != nil {
			return err
		}
	}
	if rev >= revVersionPatch {
		if _, err := r.Uvarint(); err != nil {
			return err
		}
	}
	if rev >= revOpenTelemetry {
		has, err := r.ReadByte()
		if err != nil {
			return err
		}
		if has != 0 {
			if err := r.discard(16 + 8); err != nil {
				return err
			}
			if _, err := r.Str(maxShort); err != nil {
				return err
			}
			if err := r.discard(1); err != nil {
				return err
			}
		}
	}
	if rev >= revParallelReplicas {
		for range 3 {
			if _, err := r.Uvarint(); err != nil {
				return err
			}
		}
	}
	return nil
}

// typedSettings reads the settings of old clients, which write each as its type is: numbers as such, everything else as text.
func (r Reader) typedSettings(typeOf func(name string) string) ([]Setting, error) {
	var out []Setting
	for {
		name, err := r.Str(maxShort)
		if err != nil || name == "" {
			return out, err
		}
		if len(out) >= maxItems {
			return nil, malformed("more than %d settings", maxItems)
		}
		s := Setting{Name: name, Flags: SettingImportant}
		switch typeOf(name) {
		case "":
			return nil, malformed("setting %q of an old client, whose type is not known", name)
		case "Bool", "UInt64", "UInt64Auto", "MaxThreads", "Seconds", "Milliseconds", "NonZeroUInt64", "BoolAuto":
			v, err := r.Uvarint()
			if err != nil {
				return nil, err
			}
			s.Value = strconv.FormatUint(v, 10)
		case "Int64", "Int32":
			v, err := r.Uvarint()
			if err != nil {
				return nil, err
			}
			s.Value = strconv.FormatInt(int64(v>>1)^-int64(v&1), 10)
		default:
			if s.Value, err = r.Str(maxShort); err != nil {
				return nil, err
			}
		}
		out = append(out, s)
	}
}

func (r Reader) settings() ([]Setting, error) {
	var out []Setting
	for {
		name, err := r.Str(maxShort)
		if err != nil {
			return nil, err
		}
		if name == "" {
			return out, nil
		}
		if len(out) >= maxItems {
			return nil, malformed("more than %d settings", maxItems)
		}
		s := Setting{Name: name}
		if s.Flags, err = r.Uvarint(); err != nil {
			return nil, err
		}
		if s.Value, err = r.Str(maxShort); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
}

// ServerInfo is how the server presents itself.
type ServerInfo struct {
	Major, Minor, Patch   uint64
	Timezone, DisplayName string
}

// Hello answers a client's hello.
func (w *Writer) Hello(info ServerInfo, clientRev uint64) {
	w.Uvarint(ServerHello)
	w.Str("ClickHouse")
	w.Uvarint(info.Major)
	w.Uvarint(info.Minor)
	w.Uvarint(Revision)
	if clientRev >= revTimezone {
		w.Str(info.Timezone)
	}
	if clientRev >= revDisplayName {
		w.Str(info.DisplayName)
	}
	if clientRev >= revVersionPatch {
		w.Uvarint(info.Patch)
	}
	if clientRev >= revPasswordRules {
		w.Uvarint(0) // rules for new passwords: there are no users to make
	}
	if clientRev >= revNonce {
		var nonce [8]byte
		_, _ = rand.Read(nonce[:]) // it never fails
		_, _ = w.Write(nonce[:])
	}
}

// HasAddendum says that the client follows its hello with an addendum: one string.
func HasAddendum(rev uint64) bool { return rev >= revAddendum }

// Addendum reads it.
func (r Reader) Addendum() error {
	if _, err := r.Str(maxShort); err != nil {
		return fmt.Errorf("read addendum: %w", err)
	}
	return nil
}

// TableName reads what stands before a data packet's block.
func (r Reader) TableName() (string, error) { return r.Str(maxShort) }

// Exception tells a client of an error.
func (w *Writer) Exception(code int, text string) {
	w.Uvarint(ServerException)
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(int32(code)))
	_, _ = w.Write(b[:])
	w.Str("DB::Exception")
	w.Str("DB::Exception: " + text)
	w.Str("") // stack trace
	w.bool(false)
}

// Progress tells what was done since the last one.
type Progress struct {
	Rows, Bytes, TotalRows, TotalBytes, WrittenRows, WrittenBytes uint64
	ElapsedNanos                                                  uint64
}

// WriteInfo says that progress tells what was written; older clients expect none at the end of an insert.
func WriteInfo(rev uint64) bool { return rev >= revClientWriteInfo }

// Progress writes the packet.
func (w *Writer) Progress(p Progress, rev uint64) {
	w.Uvarint(ServerProgress)
	w.Uvarint(p.Rows)
	w.Uvarint(p.Bytes)
	w.Uvarint(p.TotalRows)
	if rev >= revTotalBytes {
		w.Uvarint(p.TotalBytes)
	}
	if rev >= revClientWriteInfo {
		w.Uvarint(p.WrittenRows)
		w.Uvarint(p.WrittenBytes)
	}
	if rev >= revElapsed {
		w.Uvarint(p.ElapsedNanos)
	}
}

// ProfileInfo tells a result's size.
func (w *Writer) ProfileInfo(rows, blocks, bytes uint64) {
	w.Uvarint(ServerProfileInfo)
	w.Uvarint(rows)
	w.Uvarint(blocks)
	w.Uvarint(bytes)
	w.bool(false) // a limit was applied
	w.Uvarint(0)  // rows before it
	w.bool(true)  // and that they are told: clients of 2018 go looking for them otherwise
}

// InsertEvents answers a block of an insert with profile events, of which there
// are none: from revision 54456 on some clients send no more before they come.
func (w *Writer) InsertEvents(rev uint64) {
	if rev < revEventsInInsert {
		return
	}
	w.Uvarint(ServerProfileEvents)
	w.Str("")
	_, _ = w.Write(HeaderBlock(
		[]string{"host_name", "current_time", "thread_id", "type", "name", "value"},
		[]string{"String", "DateTime", "UInt64", "Enum8('increment' = 1, 'gauge' = 2)", "String", "Int64"}, rev))
}

// InOptions is how a client of rev dresses its blocks for the engine to take.
func InOptions(rev uint64) Options {
	return Options{InInfo: true, InFlags: rev >= revCustomSerial}
}

// OutOptions is how the engine's blocks are dressed for a client of rev.
func OutOptions(rev uint64) Options {
	return Options{OutInfo: true, OutFlags: rev >= revCustomSerial, OutEmpty: true}
}

// HeaderBlock is a block of columns without rows, as of rev.
func HeaderBlock(names, types []string, rev uint64) []byte {
	b := append([]byte(nil), blockInfoOut...)
	b = binary.AppendUvarint(b, uint64(len(names)))
	b = binary.AppendUvarint(b, 0)
	for i := range names {
		b = binary.AppendUvarint(b, uint64(len(names[i])))
		b = append(b, names[i]...)
		b = binary.AppendUvarint(b, uint64(len(types[i])))
		b = append(b, types[i]...)
		if rev >= revCustomSerial {
			b = append(b, 0)
		}
	}
	return b
}

// Unquote reads a field dump of a parameter: 'text' with escapes.
func Unquote(dump string) string {
	if len(dump) < 2 || dump[0] != '\'' || dump[len(dump)-1] != '\'' {
		return dump
	}
	in := dump[1 : len(dump)-1]
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); i++ {
		c := in[i]
		if c == '\'' && i+1 < len(in) && in[i+1] == '\'' {
			i++
		} else if c == '\\' && i+1 < len(in) {
			i++
			switch c = in[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case '0':
				c = 0
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			}
		}
		out = append(out, c)
	}
	return string(out)
}
