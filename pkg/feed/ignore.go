package feed

// Ignore counts a message of a type that the protocol lists and nobody here wants. typ must be a constant of the adapter, never the upstream's text.
func (f *Feed) Ignore(typ string) { f.cfg.Metrics.ignore(f.cfg.Source, typ) }

func (m *Metrics) ignore(source, typ string) { m.ignored.WithLabelValues(source, typ).Inc() }
