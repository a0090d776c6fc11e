package check

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/yaml"
)

const chartDir = root + "/deploy/helm/hashpivot"

// Material of others that is not ours to keep, where somebody has it: make deploy-check NATS_CHART=directory, of the chart that Chart.yaml names.
var natsChart = os.Getenv("NATS_CHART")

func values(t *testing.T, files ...string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(chartDir, f))
		if err != nil {
			t.Fatal(err)
		}
		v := map[string]any{}
		if err := yaml.UnmarshalStrict(text, &v); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = loader.MergeMaps(out, v)
	}
	return out
}

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	if natsChart == "" {
		return c
	}
	sub, err := loader.Load(natsChart)
	if err != nil {
		t.Fatal(err)
	}
	if want := c.Metadata.Dependencies[0].Version; sub.Metadata.Version != want {
		t.Fatalf("NATS_CHART is version %s, Chart.yaml names %s", sub.Metadata.Version, want)
	}
	c.AddDependency(sub)
	return c
}

// render does what helm template does.
func render(t *testing.T, vals map[string]any) map[string]string {
	t.Helper()
	c := loadChart(t)
	if err := chartutil.ProcessDependencies(c, vals); err != nil {
		t.Fatal(err)
	}
	all, err := util.ToRenderValues(c, vals, common.ReleaseOptions{Name: "hashpivot", Namespace: "market", Revision: 1, IsInstall: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := engine.Render(c, all)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// release are the objects of a rendered chart; those of others' types are unstructured.
type release struct {
	objects []runtime.Object
	others  []*unstructured.Unstructured
}

var separator = regexp.MustCompile(`(?m)^---\s*$`)

// decode reads every object strictly: a field that its type does not have, or has twice, is an error.
func decode(t *testing.T, files map[string]string) release {
	t.Helper()
	scheme := newScheme(t)
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var out release
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		for _, doc := range separator.Split(files[name], -1) {
			text, err := yaml.YAMLToJSONStrict([]byte(doc))
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			if string(text) == "null" {
				continue
			}
			u := &unstructured.Unstructured{}
			if err := json.Unmarshal(text, &u.Object); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			id := u.GroupVersionKind().String() + " " + u.GetName()
			if seen[id] || u.GetName() == "" || len(u.GetName()) > 63 {
				t.Errorf("%s: %s is there twice, or its name is none", name, id)
			}
			seen[id] = true
			if !scheme.Recognizes(u.GroupVersionKind()) {
				out.others = append(out.others, u)
				continue
			}
			obj, _, err := strict.Decode(text, nil, nil)
			if err != nil {
				t.Errorf("%s: %s: %v", name, id, err)
				continue
			}
			out.objects = append(out.objects, obj)
		}
	}
	return out
}

// pods are the templates of all pods, by the name of what makes them.
func (r release) pods() map[string]corev1.PodTemplateSpec {
	out := map[string]corev1.PodTemplateSpec{}
	for _, o := range r.objects {
		switch o := o.(type) {
		case *appsv1.Deployment:
			out[o.Name] = o.Spec.Template
		case *appsv1.StatefulSet:
			out[o.Name] = o.Spec.Template
		case *batchv1.Job:
			out[o.Name] = o.Spec.Template
		}
	}
	return out
}

func of[T runtime.Object](r release) (out []T) {
	for _, o := range r.objects {
		if x, ok := o.(T); ok {
			out = append(out, x)
		}
	}
	return out
}

func selects(t *testing.T, s *metav1.LabelSelector, l map[string]string) bool {
	t.Helper()
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return sel.Matches(labels.Set(l))
}

var sizes = []struct {
	name  string
	files []string
	set   map[string]any
}{
	{"default", []string{"values.yaml"}, nil},
	{"small", []string{"values.yaml", "values-small.yaml"}, nil},
	{"large", []string{"values.yaml", "values-large.yaml"}, nil},
	{"everything", []string{"values.yaml"}, map[string]any{
		"tls": map[string]any{"caSecret": "hashpivot-ca"}, "podMonitor": true, "image": map[string]any{"tag": "v1.2.3"}, "imagePullSecrets": []any{"registry"},
		"services":   map[string]any{"equities": map[string]any{"enabled": true}},
		"clickhouse": map[string]any{"tls": "clickhouse-tls", "storageClass": "fast", "replicas": 3},
		"gateway": map[string]any{"origins": []any{"https://desk.example.com"}, "ingress": map[string]any{
			"enabled": true, "className": "nginx", "host": "pivot.example.com", "tlsSecret": "pivot-tls", "annotations": map[string]any{"a": "b"},
		}},
		"networkPolicies": map[string]any{"clients": map[string]any{"desk": "yes"}},
	}},
	{"servers of one's own", []string{"values.yaml"}, map[string]any{
		"nats": map[string]any{"enabled": false}, "externalNats": map[string]any{"url": "tls://nats.example.com:4222"},
		"clickhouse": map[string]any{"enabled": false}, "externalClickHouse": map[string]any{"addr": []any{"clickhouse.example.com:9440"}},
		"tls": map[string]any{"caSecret": "hashpivot-ca"}, "gateway": map[string]any{"auth": false},
	}},
}

func TestHelmChart(t *testing.T) {
	for _, size := range sizes {
		t.Run(size.name, func(t *testing.T) {
			vals := loader.MergeMaps(values(t, size.files...), size.set)
			linted := lint.RunAll(chartDir, vals, "market")
			for _, m := range linted.Messages {
				if m.Severity >= support.WarningSev && !missing(m) {
					t.Errorf("helm lint: %s", m)
				}
			}
			r := decode(t, render(t, vals))
			checkPods(t, r)
			checkBudgets(t, r)
			checkPolicies(t, r)
			checkConfiguration(t, r)
			checkClickHouse(t, r)
		})
	}
}

// missing says that the linter misses the chart of NATS, which is fetched when the chart is packaged, and an icon.
func missing(m support.Message) bool {
	text := m.Error()
	return strings.Contains(text, "chart directory is missing these dependencies: nats") || strings.Contains(text, "icon is recommended")
}

func checkPods(t *testing.T, r release) {
	t.Helper()
	pods := r.pods()
	if len(pods) < 5 {
		t.Fatalf("only %d kinds of pods", len(pods))
	}
	for name, p := range pods {
		s := p.Spec
		if s.SecurityContext == nil || s.SecurityContext.RunAsNonRoot == nil || !*s.SecurityContext.RunAsNonRoot || s.SecurityContext.SeccompProfile == nil {
			t.Errorf("%s: may run as root, or without seccomp", name)
		}
		if s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken {
			t.Errorf("%s: has a token of the cluster", name)
		}
		own := strings.HasPrefix(name, "hashpivot-") && !strings.HasPrefix(name, "hashpivot-nats")
		for _, c := range s.Containers {
			if !own && c.Name != "nats" {
				continue // others' side-cars
			}
			sc := c.SecurityContext
			if sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem || sc.Capabilities == nil || !slices.Contains(sc.Capabilities.Drop, "ALL") ||
				sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
				t.Errorf("%s/%s: wants a read-only root, no capability, no new privileges", name, c.Name)
			}
			limit, request := c.Resources.Limits.Memory(), c.Resources.Requests.Memory()
			if limit.IsZero() || request.IsZero() || c.Resources.Requests.Cpu().IsZero() || request.Cmp(*limit) > 0 {
				t.Errorf("%s/%s: resources %+v", name, c.Name, c.Resources)
			}
			for _, e := range c.Env {
				if e.Name == "GOMEMLIMIT" {
					var mib, unit int64
					switch {
					case strings.HasSuffix(e.Value, "GiB"):
						unit = 1 << 30
					case strings.HasSuffix(e.Value, "MiB"):
						unit = 1 << 20
					}
					if _, err := fmt.Sscanf(e.Value, "%d", &mib); err != nil || unit == 0 || mib*unit >= limit.Value() || mib*unit < limit.Value()/2 {
						t.Errorf("%s/%s: GOMEMLIMIT %s of %s", name, c.Name, e.Value, limit)
					}
				}
			}
			if strings.HasSuffix(c.Image, ":") || strings.Contains(c.Image, "latest") {
				t.Errorf("%s/%s: image %s", name, c.Name, c.Image)
			}
			if own && s.RestartPolicy == corev1.RestartPolicyAlways && (c.LivenessProbe == nil || c.ReadinessProbe == nil || c.StartupProbe == nil) {
				t.Errorf("%s/%s: is not asked how it is", name, c.Name)
			}
		}
	}
}

func checkBudgets(t *testing.T, r release) {
	t.Helper()
	pods := r.pods()
	for _, d := range of[*appsv1.Deployment](r) {
		if !selects(t, d.Spec.Selector, d.Spec.Template.Labels) {
			t.Errorf("%s does not select its own pods", d.Name)
		}
		n := 0
		for _, b := range of[*policyv1.PodDisruptionBudget](r) {
			if selects(t, b.Spec.Selector, d.Spec.Template.Labels) {
				n++
			}
		}
		if want := d.Spec.Replicas == nil || *d.Spec.Replicas > 1; want != (n == 1) {
			t.Errorf("%s: %d budgets", d.Name, n)
		}
	}
	for _, s := range of[*corev1.Service](r) {
		n := 0
		for _, p := range pods {
			if selects(t, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}, p.Labels) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("service %s selects %d kinds of pods", s.Name, n)
		}
	}
	for _, h := range of[*autoscalingv2.HorizontalPodAutoscaler](r) {
		if _, ok := pods[h.Spec.ScaleTargetRef.Name]; !ok || h.Spec.MinReplicas == nil || *h.Spec.MinReplicas < 1 || *h.Spec.MinReplicas > h.Spec.MaxReplicas {
			t.Errorf("%s scales %s from %v to %d", h.Name, h.Spec.ScaleTargetRef.Name, h.Spec.MinReplicas, h.Spec.MaxReplicas)
		}
	}
}

// checkPolicies holds what each pod of ours reaches, and by whom it is reached.
func checkPolicies(t *testing.T, r release) {
	t.Helper()
	type reach struct{ in, out []int32 }
	for name, p := range r.pods() {
		var got reach
		var in, out bool
		for _, np := range of[*networkingv1.NetworkPolicy](r) {
			if !selects(t, &np.Spec.PodSelector, p.Labels) {
				continue
			}
			in = in || slices.Contains(np.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
			out = out || slices.Contains(np.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
			for _, rule := range np.Spec.Ingress {
				for _, port := range rule.Ports {
					got.in = append(got.in, port.Port.IntVal)
				}
			}
			for _, rule := range np.Spec.Egress {
				for _, port := range rule.Ports {
					got.out = append(got.out, port.Port.IntVal)
				}
			}
		}
		if !in || !out {
			t.Errorf("%s: held by policies of what comes %v, of what goes %v", name, in, out)
		}
		component := p.Labels["app.kubernetes.io/component"]
		if p.Labels["app.kubernetes.io/name"] != "hashpivot" {
			continue
		}
		tables := slices.Contains([]string{"migrate", "lander", "audit", "gateway"}, component)
		upstream := slices.Contains([]string{"equities", "hashprice", "gpurates"}, component)
		if slices.Contains(got.out, 9000) != tables || slices.Contains(got.out, 443) != upstream || !slices.Contains(got.out, 4222) || !slices.Contains(got.out, 53) {
			t.Errorf("%s reaches %v", name, got.out)
		}
		if slices.Contains(got.in, 8080) != (component == "gateway") || !slices.Contains(got.in, 9464) {
			t.Errorf("%s is reached on %v", name, got.in)
		}
	}
}

// checkConfiguration has the built binary read what each pod gets.
func checkConfiguration(t *testing.T, r release) {
	t.Helper()
	binary, err := filepath.Abs(root + "/bin/hashpivot")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	file := filepath.Join(t.TempDir(), "hashpivot.yaml")
	for _, m := range of[*corev1.ConfigMap](r) {
		if text, ok := m.Data["hashpivot.yaml"]; ok {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	seen := 0
	for name, p := range r.pods() {
		if p.Labels["app.kubernetes.io/name"] != "hashpivot" {
			continue
		}
		seen++
		c := p.Spec.Containers[0]
		var env []string
		for _, e := range c.Env {
			if e.ValueFrom != nil {
				if ref := e.ValueFrom.SecretKeyRef; ref == nil || ref.Name != "hashpivot" || !key.MatchString(ref.Key) {
					t.Errorf("%s: %s is of %+v", name, e.Name, e.ValueFrom)
				}
				e.Value = "a secret of the tests, long enough for a key"
			}
			env = append(env, e.Name+"="+e.Value)
		}
		cmd := exec.CommandContext(t.Context(), binary, "--config", file, "config")
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
			continue
		}
		var cfg struct {
			NATS       struct{ URL, User, Password string }
			ClickHouse struct {
				Addr       []string
				User       string
				Replicated bool
			}
		}
		if err := yaml.Unmarshal(out, &cfg); err != nil {
			t.Fatal(err)
		}
		if cfg.NATS.URL == "" || cfg.NATS.User != p.Labels["app.kubernetes.io/component"] || cfg.NATS.Password == "" || bytes.Contains(out, []byte("a secret of the tests")) {
			t.Errorf("%s: %+v", name, cfg.NATS)
		}
		ch := cfg.ClickHouse
		if tables := slices.Contains([]string{"migrate", "lander", "audit", "gateway"}, cfg.NATS.User); len(ch.Addr) == 0 || ch.Replicated != (len(ch.Addr) > 1) || tables && ch.User != cfg.NATS.User {
			t.Errorf("%s: %+v", name, ch)
		}
	}
	if seen < 6 {
		t.Errorf("only %d pods of ours", seen)
	}
}

// checkClickHouse looks into the operator's objects, whose types are not to be had as a module.
func checkClickHouse(t *testing.T, r release) {
	t.Helper()
	for _, u := range r.others {
		switch u.GetKind() {
		case "ClickHouseInstallation":
			files, _, err := unstructured.NestedStringMap(u.Object, "spec", "configuration", "files")
			if err != nil || len(files) < 2 {
				t.Fatalf("files of ClickHouse: %v, %v", slices.Collect(maps.Keys(files)), err)
			}
			for name, text := range files {
				dec := xml.NewDecoder(strings.NewReader(text))
				for {
					if _, err := dec.Token(); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						t.Errorf("%s: %v", name, err)
						break
					}
				}
			}
			// The operator makes its own user default, and the port on which replicas speak; ours must not take them away.
			if strings.Contains(files["users.d/hashpivot.xml"], "<default remove") || strings.Contains(files["config.d/hashpivot.xml"], "interserver_http_port remove") {
				t.Error("what the operator needs is removed")
			}
		case "ClickHouseKeeperInstallation", "PodMonitor":
		default:
			t.Errorf("%s %s is of no known type", u.GetKind(), u.GetName())
		}
	}
}

func TestHelmChartRefuses(t *testing.T) {
	f := func(want string, set map[string]any) {
		t.Helper()
		vals := loader.MergeMaps(values(t, "values.yaml"), set)
		c := loadChart(t)
		err := chartutil.ProcessDependencies(c, vals)
		var all common.Values
		if err == nil {
			all, err = util.ToRenderValues(c, vals, common.ReleaseOptions{Name: "hashpivot", Namespace: "market", Revision: 1}, nil)
		}
		if err == nil {
			_, err = engine.Render(c, all)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", set, err, want)
		}
	}
	f("externalNats.url", map[string]any{"nats": map[string]any{"enabled": false}})
	f("externalClickHouse.addr", map[string]any{"clickhouse": map[string]any{"enabled": false}})
	f("gateway.ingress.host", map[string]any{"gateway": map[string]any{"ingress": map[string]any{"enabled": true}}})
	f("'replcas'", map[string]any{"clickhouse": map[string]any{"replcas": 3}})
	f("'lnader'", map[string]any{"services": map[string]any{"lnader": map[string]any{}}})
}

// TestHelmNATS has nats-server read what NATS's chart makes of our values, where that chart is at hand.
func TestHelmNATS(t *testing.T) {
	if natsChart == "" {
		return // said in make deploy-check
	}
	for _, size := range sizes[:3] {
		r := decode(t, render(t, values(t, size.files...)))
		dir := t.TempDir()
		files := map[string]string{}
		for _, m := range of[*corev1.ConfigMap](r) {
			maps.Copy(files, m.Data)
		}
		sets := of[*appsv1.StatefulSet](r)
		if len(sets) != 1 {
			t.Fatalf("%d stateful sets", len(sets))
		}
		for _, e := range sets[0].Spec.Template.Spec.Containers[0].Env {
			switch {
			case e.ValueFrom == nil:
				t.Setenv(e.Name, strings.ReplaceAll(e.Value, "$(POD_NAME)", "hashpivot-nats-0"))
			case e.ValueFrom.SecretKeyRef != nil:
				t.Setenv(e.Name, "p4ssw0rd")
			}
		}
		for name, path := range map[string]string{"nats.conf": "nats-config/nats.conf", "users.conf": "nats-users/users.conf"} {
			if files[name] == "" {
				t.Fatalf("no %s in any ConfigMap", name)
			}
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, path), []byte(files[name]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o, err := server.ProcessConfigFile(filepath.Join(dir, "nats-config/nats.conf"))
		if err != nil {
			t.Fatalf("%s: %v\n%s", size.name, err, files["nats.conf"])
		}
		if !o.JetStream || !o.SyncAlways || len(o.Users) < 9 || o.StoreDir != "/data" {
			t.Errorf("%s: JetStream %v, sync always %v, %d users, store %s", size.name, o.JetStream, o.SyncAlways, len(o.Users), o.StoreDir)
		}
		for _, v := range sets[0].Spec.Template.Spec.Volumes {
			if v.Name == "users" && v.ConfigMap.Name != "hashpivot-nats-users" {
				t.Errorf("users are of %s", v.ConfigMap.Name)
			}
		}
	}
}
