package chembed

import (
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
)

// What parent and child say to each other. The child finds these descriptors
// open, in this order, from 3 on.
const (
	fdControl = 3 + iota // from the parent: the childConfig, then nothing; its end means: close
	fdStatus             // to the parent: one childStatus a line
	fdSockets            // the first of the listening sockets, in the order of childConfig.Listeners
)

// childEnv marks the child's environment; its value is this protocol's version.
const (
	childEnv     = "HASHPIVOT_CHEMBED_ENGINE"
	childVersion = "3"
)

// listenerKind is what a listening socket speaks.
type listenerKind string

const (
	kindNative    listenerKind = "native"
	kindHTTP      listenerKind = "HTTP"
	kindNativeTLS listenerKind = "native with TLS"
	kindHTTPS     listenerKind = "HTTPS"
)

func (k listenerKind) http() bool { return k == kindHTTP || k == kindHTTPS }
func (k listenerKind) tls() bool  { return k == kindNativeTLS || k == kindHTTPS }

// childConfig is the first line on the control pipe.
type childConfig struct {
	Library, DataDir     string
	ServerSettings       map[string]string
	Settings             map[string]string
	Users                []access.Config
	Listeners            []listenerKind // of the sockets from fdSockets on
	CertFile, KeyFile    string         `json:",omitempty"` // of the sockets with TLS
	ClientCAFile         string         `json:",omitempty"`
	MaxConnections       int
	MaxConcurrentQueries int
	QueueWait, Drain     time.Duration

	Bare *bareRequest `json:",omitempty"` // measure this instead of serving
}

// childStatus is a line on the status pipe.
type childStatus struct {
	Ready   bool   `json:",omitempty"` // accepting connections
	Version string `json:",omitempty"` // of the engine, with Ready

	Bare *BareResult `json:",omitempty"` // second line of a child that measures

	Fatal   string `json:",omitempty"` // why it ends, one of the words below
	Message string `json:",omitempty"`
}

// Words of childStatus.Fatal.
const (
	fatalLibrary = "library"
	fatalLocked  = "locked"
	fatalDataDir = "datadir"
	fatalOther   = "other"
)
