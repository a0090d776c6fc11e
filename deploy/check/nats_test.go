package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// certificate makes ca.crt, nats.crt and nats.key in dir, for this machine; the one certificate signs itself.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nats"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, text := range map[string][]byte{"ca.crt": crt, "nats.crt": crt, "nats.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var natsVariable = regexp.MustCompile(`\$(NATS_\w+)`)

// natsFiles copies the deployed configuration into dir, with this machine's directories in place of the container's, and sets its variables.
func natsFiles(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy/nats/*.conf"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		conf := strings.NewReplacer("/etc/tls/", dir+"/", "store_dir: /data", "store_dir: "+dir+"/data").Replace(string(text))
		for _, m := range natsVariable.FindAllStringSubmatch(conf, -1) {
			value := `"for-` + strings.ToLower(m[1]) + `"`
			switch m[1] {
			case "NATS_MAX_FILE_STORE":
				value = "1GB"
			case "NATS_SERVER_NAME":
				value = "hashpivot-1"
			case "NATS_ROUTE_1", "NATS_ROUTE_2", "NATS_ROUTE_3": // as docker-compose.yml puts it together
				value = `"nats://route:for-nats_cluster_password@nats-` + m[1][len("NATS_ROUTE_"):] + `:6222"`
			}
			t.Setenv(m[1], value)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// freePorts are ports that nobody listened on a moment ago.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}

func startServer(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.NoSigs, o.NoLog, o.Host, o.HTTPHost, o.HTTPPort = true, true, "127.0.0.1", "", 0
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

// TestNATSConfiguration has nats-server itself read what is deployed.
func TestNATSConfiguration(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	natsFiles(t, dir)
	p := load(t, dotenv(t, "deploy/compose.env.example"), []string{"docker-compose.yml"})
	var want []string
	for _, name := range append(slices.Clone(ours), "equities", "ops") {
		s, err := p.GetService(name)
		if err != nil {
			s = p.DisabledServices[name]
		}
		want = append(want, deref(s.Environment["HASHPIVOT_NATS__USER"]))
	}
	slices.Sort(want)
	for _, conf := range []string{"nats.conf", "tls.conf", "cluster.conf", "cluster-tls.conf"} {
		o, err := server.ProcessConfigFile(filepath.Join(dir, conf))
		if err != nil {
			t.Errorf("%s: %v", conf, err)
			continue
		}
		var users []string
		for _, u := range o.Users {
			users = append(users, u.Username)
			if u.Password != "for-nats_"+u.Username+"_password" {
				t.Errorf("%s: the password of %s is of another variable", conf, u.Username)
			}
		}
		for _, u := range want {
			if !slices.Contains(users, u) {
				t.Errorf("%s has no user %s: %v", conf, u, users)
			}
		}
		if !o.JetStream || !o.SyncAlways || o.HTTPHost != "127.0.0.1" || o.HTTPPort != 8222 || o.MaxPayload != 1_000_000 && o.MaxPayload != 1<<20 {
			t.Errorf("%s: JetStream %v, sync always %v, monitor at %s:%d, max_payload %d", conf, o.JetStream, o.SyncAlways, o.HTTPHost, o.HTTPPort, o.MaxPayload)
		}
		if clustered := strings.HasPrefix(conf, "cluster"); clustered != (len(o.Routes) == 3) || clustered && (o.Cluster.Username != "route" || o.Cluster.Password == "") {
			t.Errorf("%s: routes %v, cluster %+v", conf, o.Routes, o.Cluster)
		}
		if secure := strings.Contains(conf, "tls"); secure != (o.TLSConfig != nil) || secure && o.TLSConfig.MinVersion < tls.VersionTLS12 {
			t.Errorf("%s: TLS %v", conf, o.TLSConfig != nil)
		}
	}
}

// TestNATSClusterForms starts three nodes of the deployed configuration, over TLS, and has them keep a stream in three copies.
func TestNATSClusterForms(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	natsFiles(t, dir)
	ports := freePorts(t, 6)
	var urls []string
	for i := range 3 {
		o, err := server.ProcessConfigFile(filepath.Join(dir, "cluster-tls.conf"))
		if err != nil {
			t.Fatal(err)
		}
		o.ServerName, o.Port, o.StoreDir = fmt.Sprintf("hashpivot-%d", i+1), ports[i], filepath.Join(dir, fmt.Sprint("node-", i))
		o.Cluster.Host, o.Cluster.Port = "127.0.0.1", ports[3+i]
		for j, r := range o.Routes { // with the password that the configuration gives
			r.Host = fmt.Sprintf("127.0.0.1:%d", ports[3+j])
		}
		startServer(t, o)
		urls = append(urls, fmt.Sprintf("tls://127.0.0.1:%d", ports[i]))
	}
	if _, err := nats.Connect(urls[0], nats.UserInfo("ops", "guess"), nats.RootCAs(filepath.Join(dir, "ca.crt"))); err == nil {
		t.Error("a wrong password was taken")
	}
	if _, err := nats.Connect(strings.Replace(urls[0], "tls", "nats", 1), nats.UserInfo("migrate", "for-nats_migrate_password")); err == nil {
		t.Error("a client that trusts no such authority was served")
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.UserInfo("migrate", "for-nats_migrate_password"), nats.RootCAs(filepath.Join(dir, "ca.crt")),
		nats.CustomInboxPrefix("_INBOX_migrate"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// The nodes elect a leader first; until then they say so.
	end := time.Now().Add(30 * time.Second)
	for {
		s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TRADES", Subjects: []string{"md.v1.trade.*.*"}, Replicas: 3})
		if err == nil {
			if info := s.CachedInfo(); info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
				t.Errorf("the stream is kept by %+v", info.Cluster)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no stream in three copies: %v", err)
		}
		time.Sleep(100 * time.Millisecond) // between two questions
	}
}
