package engine

import "encoding/binary"

// Progress is how far the session's statement is, and how many rows it has to read as far as the engine knows. Zero while it has not begun.
func (s *Session) Progress() (now Stats, totalRows uint64) {
	e := s.eng
	e.adminMu.Lock()
	defer e.adminMu.Unlock()
	r, err := e.admin.Query("SELECT toUInt64(read_rows), toUInt64(read_bytes), toUInt64(written_rows), toUInt64(written_bytes), toUInt64(total_rows_approx) "+
		"FROM system.processes WHERE Settings['"+tagSetting+"'] = '"+s.tag+"' LIMIT 1", "RowBinary")
	if err != nil {
		return now, 0
	}
	defer r.Free()
	b := r.Bytes()
	if len(b) < 5*8 {
		return now, 0
	}
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return Stats{ReadRows: n(0), ReadBytes: n(1), WrittenRows: n(2), WrittenBytes: n(3)}, n(4)
}
