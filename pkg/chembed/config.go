package chembed

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
)

// LibraryVersion is the pinned version of the engine's package.
const LibraryVersion = "26.7.3-stable.1"

// LibraryEnv names the library's path where Config does not.
const LibraryEnv = "HASHPIVOT_LIBCHDB"

// FetchCommand installs the library; errors name it.
const FetchCommand = "pkg/chembed/fetch-libchdb.sh .cache/libchdb"

// Config is an embedded server's. DefaultConfig fills everything but DataDir.
type Config struct {
	// DataDir is the engine's directory, made if missing. One process at a time.
	DataDir string
	// NativeAddr and HTTPAddr are host:port to listen on; port 0 takes any free one.
	NativeAddr, HTTPAddr string
	// NativeTLSAddr and HTTPSAddr listen with TLS beside them, where they are set; TLSCertFile and TLSKeyFile are the certificate, in PEM, which may be renewed
	// while the server runs. With TLSClientCAFile clients must show a certificate that one of its authorities has signed.
	NativeTLSAddr, HTTPSAddr string
	TLSCertFile, TLSKeyFile  string
	TLSClientCAFile          string
	// LibraryPath is libchdb.so. Empty: $HASHPIVOT_LIBCHDB, then
	// .cache/libchdb/<version>/libchdb.so in the working directory and above it,
	// then the same beside the executable and above it.
	LibraryPath string

	// Users by name. Empty: the user "default" without password, who may do
	// everything, as a fresh ClickHouse has it.
	Users map[string]User

	// MaxMemoryPerQuery is the default of max_memory_usage, in bytes. 0: no limit.
	MaxMemoryPerQuery uint64
	// MaxMemory bounds what all queries and merges together use, in bytes. 0: nine
	// tenths of the machine's.
	MaxMemory uint64
	// MaxExecutionTime, MaxResultRows and MaxRowsToRead are the defaults of the settings of these names. 0: no limit.
	MaxExecutionTime time.Duration
	MaxResultRows    uint64
	MaxRowsToRead    uint64
	// MaxConnections bounds the connections of each protocol. 0: no limit.
	MaxConnections int
	// MaxConcurrentQueries run at once; more wait for QueueWait and are refused
	// then (code 202). 0: no limit.
	MaxConcurrentQueries int
	QueueWait            time.Duration
	// Settings are query settings for every session, clients' own come over them.
	Settings map[string]string
	// ServerSettings come over the defaults that keep an idle engine small.
	ServerSettings map[string]string

	// StartTimeout is how long the engine may take to open its data directory.
	StartTimeout time.Duration
	// DrainTimeout is how long running queries may take when the server closes.
	DrainTimeout time.Duration
	// RestartMin and RestartMax bound the back-off between restarts of an engine
	// that died.
	RestartMin, RestartMax time.Duration

	// Logger takes the server's log and the engine's. Nil: slog.Default().
	Logger *slog.Logger

	// Executable and ChildArgs start the engine process. Empty: the running
	// executable, whose main calls RunChildIfRequested first.
	Executable string
	ChildArgs  []string
}

// DefaultConfig is a server on ClickHouse's usual ports, on loopback.
func DefaultConfig() Config {
	return Config{
		NativeAddr:           "127.0.0.1:9000",
		HTTPAddr:             "127.0.0.1:8123",
		MaxMemoryPerQuery:    2 << 30,
		MaxConnections:       256,
		MaxConcurrentQueries: 64,
		QueueWait:            10 * time.Second,
		StartTimeout:         2 * time.Minute,
		DrainTimeout:         5 * time.Second,
		RestartMin:           100 * time.Millisecond,
		RestartMax:           10 * time.Second,
	}
}

// Validate says what cannot be right, before anything is started.
func (c Config) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
	}
	if c.DataDir == "" {
		return bad("DataDir is empty: name the directory that shall hold the data")
	}
	for name, addr := range map[string]string{"NativeAddr": c.NativeAddr, "HTTPAddr": c.HTTPAddr, "NativeTLSAddr": c.NativeTLSAddr, "HTTPSAddr": c.HTTPSAddr} {
		if addr == "" && (name == "NativeTLSAddr" || name == "HTTPSAddr") {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return bad("%s %q is not host:port (for instance 127.0.0.1:9000)", name, addr)
		}
	}
	if (c.NativeTLSAddr != "" || c.HTTPSAddr != "") && (c.TLSCertFile == "" || c.TLSKeyFile == "") {
		return bad("NativeTLSAddr and HTTPSAddr need TLSCertFile and TLSKeyFile")
	}
	if _, err := access.New(c.accounts()); err != nil {
		return bad("Users: %w", err)
	}
	if c.MaxExecutionTime < 0 {
		return bad("MaxExecutionTime must not be negative")
	}
	if c.MaxConnections < 0 || c.MaxConcurrentQueries < 0 {
		return bad("MaxConnections and MaxConcurrentQueries must not be negative")
	}
	if c.MaxConcurrentQueries > 0 && c.QueueWait < 0 {
		return bad("QueueWait must not be negative")
	}
	if c.StartTimeout <= 0 || c.RestartMin <= 0 || c.RestartMax < c.RestartMin || c.DrainTimeout < 0 {
		return bad("StartTimeout and RestartMin must be positive, RestartMax not below RestartMin (start from DefaultConfig)")
	}
	return nil
}

// FindLibrary looks for libchdb.so where Config.LibraryPath says it is looked for.
func FindLibrary(path string) (string, error) {
	if path == "" {
		path = os.Getenv(LibraryEnv)
	}
	if path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%w at %s: install it with '%s', or set %s", ErrLibraryMissing, path, FetchCommand, LibraryEnv)
		}
		return filepath.Abs(path)
	}
	rel := filepath.Join(".cache", "libchdb", LibraryVersion, "libchdb.so")
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for {
			candidate := filepath.Join(dir, rel)
			if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() {
				return candidate, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", fmt.Errorf("%w: no %s in the working directory, beside the executable or above them: run 'make libchdb' or '%s', or set %s",
		ErrLibraryMissing, rel, FetchCommand, LibraryEnv)
}

// engineDefaults are the server settings of an embedded engine. A server sizes its
// caches and pools for a machine of its own; this one shares it with the rest of
// the pipeline, so caches are bounded to what a working set of recent parts takes.
func engineDefaults() map[string]string {
	return map[string]string{
		"mark_cache_size":                     "67108864",
		"primary_index_cache_size":            "67108864",
		"index_mark_cache_size":               "16777216",
		"uncompressed_cache_size":             "0",
		"query_condition_cache_size":          "16777216",
		"vector_similarity_index_cache_size":  "0",
		"text_index_tokens_cache_size":        "1048576",
		"text_index_header_cache_size":        "1048576",
		"text_index_postings_cache_size":      "1048576",
		"iceberg_metadata_files_cache_size":   "1048576",
		"parquet_metadata_cache_size":         "16777216",
		"compiled_expression_cache_size":      "16777216",
		"max_thread_pool_free_size":           "16",
		"max_io_thread_pool_size":             "16",
		"max_io_thread_pool_free_size":        "0",
		"max_parts_cleaning_thread_pool_size": "4",
		"background_pool_size":                "2",
	}
}

// engineConfig is what the engine takes from a file only. A merge is not synced, so the parts that it was made of must outlive it until the kernel has
// written it back: a power cut within half a minute of a merge took rows that had been acknowledged. ClickHouse keeps them for eight minutes; libchdb
// comes with none.
const engineConfig = `<clickhouse>
    <merge_tree>
        <old_parts_lifetime>480</old_parts_lifetime>
    </merge_tree>
</clickhouse>
`

// writeEngineConfig leaves it in the data directory and returns where.
func writeEngineConfig(dir string) (string, error) {
	file := filepath.Join(dir, "engine.xml")
	if err := os.WriteFile(file, []byte(engineConfig), 0o600); err != nil {
		return "", fmt.Errorf("%w: write the engine's configuration: %w", ErrDataDirUnusable, err)
	}
	return file, nil
}

// sessionDefaults are the query settings of every session. An insert of many blocks
// gathers at most 64 MiB before it writes a part, not the 256 MiB of a server; a
// single block is never split or joined, whatever its size.
func sessionDefaults() map[string]string {
	return map[string]string{
		"async_insert":                "0",
		"min_insert_block_size_bytes": "67108864",
	}
}
