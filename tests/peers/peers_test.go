package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// identity is a certificate with its key, and the chain to present with it.
type identity struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	chain [][]byte
}

var serials int64

func newIdentity(t *testing.T, issuer *identity, name string, change func(*x509.Certificate)) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serials++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serials),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	id := &identity{cert: cert, key: key, chain: [][]byte{der}}
	if issuer != nil && issuer.cert.CheckSignatureFrom(issuer.cert) != nil {
		id.chain = append(id.chain, issuer.chain...) // an intermediate is presented along
	}
	return id
}

func ca(t *testing.T, issuer *identity, name string) *identity {
	return newIdentity(t, issuer, name, func(c *x509.Certificate) {
		c.IsCA = true
		c.KeyUsage = x509.KeyUsageCertSign
	})
}

func leaf(t *testing.T, issuer *identity, usage x509.ExtKeyUsage, changes ...func(*x509.Certificate)) *identity {
	return newIdentity(t, issuer, "leaf", func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{usage}
		c.DNSNames = []string{"gateway.test"}
		for _, change := range changes {
			change(c)
		}
	})
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }

func (i *identity) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

func (i *identity) chainPEM() []byte {
	var text []byte
	for _, der := range i.chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

func (i *identity) keyPEM(t *testing.T) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (i *identity) tls() tls.Certificate {
	return tls.Certificate{Certificate: i.chain, PrivateKey: i.key}
}

func (i *identity) presented(t *testing.T) []*x509.Certificate {
	chain, err := parseChain(i.chainPEM())
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func write(t *testing.T, name string, text []byte) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerifyClient(t *testing.T) {
	root, other := ca(t, nil, "root"), ca(t, nil, "other")
	middle := ca(t, root, "middle")
	good := leaf(t, root, x509.ExtKeyUsageClientAuth)
	below := leaf(t, middle, x509.ExtKeyUsageClientAuth)
	concat := func(texts ...[]byte) []byte { return bytes.Join(texts, []byte("\n")) }
	for _, c := range []struct {
		name      string
		presented []*x509.Certificate
		ca        []byte
		want      string
	}{
		{"good", good.presented(t), root.pem(), ""},
		{"second block", good.presented(t), concat(other.pem(), root.pem()), ""},
		{"comments and rubbish", good.presented(t), concat([]byte("# a comment\nrubbish"), other.pem(), []byte("more"), root.pem()), ""},
		{"other CA", good.presented(t), other.pem(), "unknown authority"},
		{"no PEM", good.presented(t), []byte("# nothing yet"), "holds no certificate"},
		{"empty", good.presented(t), nil, "holds no certificate"},
		{"server usage", leaf(t, root, x509.ExtKeyUsageServerAuth).presented(t), root.pem(), "incompatible key usage"},
		{"expired", leaf(t, root, x509.ExtKeyUsageClientAuth, expired).presented(t), root.pem(), "expired"},
		{"intermediate presented", below.presented(t), root.pem(), ""},
		{"intermediate missing", below.presented(t)[:1], root.pem(), "unknown authority"},
		{"intermediate as the only root", below.presented(t)[:1], middle.pem(), ""},
		{"root's leaf under the intermediate", good.presented(t), middle.pem(), "unknown authority"},
		{"none presented", nil, root.pem(), "no client certificate"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, verifyClient(c.presented, c.ca, time.Now()), c.want) })
	}
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q", err, want)
	}
}

// fakeAPI serves objects by path, as a plain HTTP API server.
type fakeAPI struct {
	mu      sync.Mutex
	objects map[string]any
	patches []string
}

func (f *fakeAPI) set(path string, object any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.objects[path] = object
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodPatch {
		body, _ := io.ReadAll(r.Body)
		f.patches = append(f.patches, r.URL.Path+" "+string(body))
		return
	}
	object, ok := f.objects[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(object)
}

func (f *fakeAPI) lastPatch() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.patches) == 0 {
		return ""
	}
	return f.patches[len(f.patches)-1]
}

type object = map[string]any

func dataPlane(name string, generation int, planeID string, clientCA object) object {
	return object{
		"metadata": object{"name": name, "namespace": "ns", "uid": name, "generation": generation},
		"spec":     object{"planeID": planeID, "clusterAgent": object{"clientCA": clientCA}},
	}
}

func secretWith(key string, text []byte) object {
	return object{"data": object{key: base64.StdEncoding.EncodeToString(text)}}
}

func newFakeAPI(t *testing.T) (*fakeAPI, *kube) {
	api := &fakeAPI{objects: map[string]any{}}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	client, err := newKube(write(t, "kubeconfig", fmt.Appendf(nil, `
current-context: c
clusters: [{name: k, cluster: {server: %q}}]
contexts: [{name: c, context: {cluster: k, user: u}}]
users: [{name: u, user: {token: x}}]
`, server.URL)))
	if err != nil {
		t.Fatal(err)
	}
	return api, client
}

const dataPlanes = planeAPI + "/dataplanes"

func items(planes ...any) object { return object{"items": planes} }

func TestClientCA(t *testing.T) {
	api, client := newFakeAPI(t)
	api.set("/api/v1/namespaces/ns/secrets/s", secretWith("ca.crt", []byte("own")))
	api.set("/api/v1/namespaces/else/secrets/s", secretWith("ca.crt", []byte("elsewhere")))
	own := object{"name": "s", "key": "ca.crt"}
	for _, c := range []struct {
		name     string
		clientCA object
		want     string
		err      string
	}{
		{"value", object{"value": "inline"}, "inline", ""},
		{"value wins", object{"value": "inline", "secretRef": own}, "inline", ""},
		{"secretRef, own namespace", object{"secretRef": own}, "own", ""},
		{"secretKeyRef", object{"secretKeyRef": own}, "own", ""},
		{"other namespace", object{"secretKeyRef": object{"name": "s", "key": "ca.crt", "namespace": "else"}}, "elsewhere", ""},
		{"no such Secret", object{"secretRef": object{"name": "t", "key": "ca.crt"}}, "", "not found"},
		{"no such key", object{"secretRef": object{"name": "s", "key": "tls.crt"}}, "", "has no key"},
		{"nothing", object{}, "", "no clientCA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			api.set(dataPlanes, items(dataPlane("p", 1, "", c.clientCA)))
			planes, err := listPlanes(context.Background(), client, "dataplane")
			if err != nil || len(withPlaneID(planes, "p")) != 1 {
				t.Fatalf("%v %v", planes, err)
			}
			got, err := clientCA(context.Background(), client, planes[0])
			expect(t, err, c.err)
			if string(got) != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// lines collects a gateway's log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(message string) func() bool {
	want, _ := json.Marshal(message)
	return l.contains(strings.Trim(string(want), `"`))
}

func (l *lines) contains(text string) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return strings.Contains(l.text.String(), text)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

type testGateway struct {
	*gateway
	api     *fakeAPI
	log     *lines
	address string
}

func startGateway(t *testing.T, server *identity) *testGateway {
	api, client := newFakeAPI(t)
	output := &lines{}
	g := newGateway(client, slog.New(slog.NewJSONHandler(output, nil)))
	g.reportStatus = true
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := g.server(server.tls(), false)
	go func() { _ = s.ServeTLS(listener, "", "") }()
	ctx, cancel := context.WithCancel(context.Background())
	go g.watchPlanes(ctx, 10*time.Millisecond)
	t.Cleanup(func() {
		cancel()
		_ = s.Close()
	})
	return &testGateway{g, api, output, listener.Addr().String()}
}

func (g *testGateway) dial(client *identity, roots *identity, planeType, planeID string) (*websocket.Conn, *http.Response, error) {
	settings := &tls.Config{ServerName: "gateway.test", RootCAs: x509.NewCertPool()}
	settings.RootCAs.AddCert(roots.cert)
	if client != nil {
		settings.Certificates = []tls.Certificate{client.tls()}
	}
	dialer := websocket.Dialer{TLSClientConfig: settings, HandshakeTimeout: 5 * time.Second}
	return dialer.Dial(fmt.Sprintf("wss://%s/ws?planeType=%s&planeID=%s", g.address, planeType, planeID), nil)
}

func value(pems ...*identity) object {
	var text []byte
	for _, p := range pems {
		text = append(text, p.pem()...)
	}
	return object{"value": string(text)}
}

func TestGatewayVerifiesEachConnection(t *testing.T) {
	root, other := ca(t, nil, "root"), ca(t, nil, "other")
	g := startGateway(t, leaf(t, root, x509.ExtKeyUsageServerAuth))
	client := leaf(t, root, x509.ExtKeyUsageClientAuth)
	g.api.set(dataPlanes, items(
		dataPlane("a", 1, "eu-1", value(other)), dataPlane("b", 1, "eu-1", value(root)), dataPlane("c", 1, "", value(other)),
		dataPlane("d", 1, "eu-2", object{"secretRef": object{"name": "gone", "key": "ca.crt"}})))
	g.api.set(planeAPI+"/clusterdataplanes", items(object{
		"metadata": object{"name": "cluster", "uid": "cluster", "generation": 1},
		"spec":     object{"planeID": "eu-3", "clusterAgent": object{"clientCA": value(root)}},
	}))
	for _, c := range []struct {
		name, planeType, planeID string
		client, roots            *identity
		status                   int
		agent, gateway           string
	}{
		{"one of two resources", "dataplane", "eu-1", client, root, 0, "", "agent connected successfully"},
		{"cluster-scoped", "dataplane", "eu-3", client, root, 0, "", "agent connected successfully"},
		{"no resource verifies", "dataplane", "c", client, root, 401, "websocket: bad handshake", "certificate not valid for any CR"},
		{"Secret is missing", "dataplane", "eu-2", client, root, 401, "websocket: bad handshake", "certificate not valid for any CR"},
		{"name is hidden by planeID", "dataplane", "a", client, root, 401, "websocket: bad handshake", "no dataplane CRs found with planeID 'a'"},
		{"kind is absent", "workflowplane", "eu-1", client, root, 401, "websocket: bad handshake", "no workflowplane CRs found with planeID 'eu-1'"},
		{"no certificate", "dataplane", "eu-1", nil, root, 401, "websocket: bad handshake", "connection rejected: no client certificate presented"},
		{"bad type", "plane", "eu-1", client, root, 400, "websocket: bad handshake", "connection rejected: bad planeType or planeID"},
		{"server distrusted", "dataplane", "eu-1", client, other, 0, "tls: failed to verify certificate: x509: ", "remote error: tls: bad certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.log.mu.Lock()
			g.log.text.Reset()
			g.log.mu.Unlock()
			socket, response, err := g.dial(c.client, c.roots, c.planeType, c.planeID)
			expect(t, err, c.agent)
			if socket != nil {
				_ = socket.Close()
			}
			status := 0
			if err != nil && response != nil {
				status = response.StatusCode
			}
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if err != nil && c.status != 400 && !failedByCertificate(err, status) {
				t.Errorf("not counted as a certificate failure: %v", err)
			}
			eventually(t, c.gateway, g.log.contains(c.gateway))
		})
	}
	if g.stats.TLSErrors != 1 || g.stats.Rejected != 6 || g.stats.Connected != 2 || g.stats.Handshakes != 8 {
		t.Errorf("%+v", g.stats)
	}
}

func TestGatewayReverifiesOpenConnections(t *testing.T) {
	root, other := ca(t, nil, "root"), ca(t, nil, "other")
	g := startGateway(t, leaf(t, root, x509.ExtKeyUsageServerAuth))
	client := leaf(t, root, x509.ExtKeyUsageClientAuth)
	g.api.set(dataPlanes, items(dataPlane("p", 1, "eu-1", value(root))))
	socket, _, err := g.dial(client, root, "dataplane", "eu-1")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	closed := make(chan error, 1)
	go func() {
		_, _, err := socket.ReadMessage()
		closed <- err
	}()
	said := func(text string) func() bool {
		return func() bool {
			last := g.api.lastPatch()
			return strings.HasPrefix(last, planeAPI+"/namespaces/ns/dataplanes/p/status ") && strings.Contains(last, text)
		}
	}
	stats := func(deauthorized int) {
		t.Helper()
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.stats.Deauthorized != deauthorized || len(g.connections) != 1 {
			t.Errorf("%+v, %d open", g.stats, len(g.connections))
		}
	}
	eventually(t, "reported as connected", said(`"connected":true`))

	// Without a new generation nothing is verified again.
	g.api.set(dataPlanes, items(dataPlane("p", 1, "eu-1", value(other))))
	time.Sleep(100 * time.Millisecond)
	stats(0)

	g.api.set(dataPlanes, items(dataPlane("p", 2, "eu-1", value(other))))
	eventually(t, "deauthorized", g.log.has("agent lost its authorization"))
	eventually(t, "reported as disconnected", said(`"connected":false`))
	stats(1)

	g.api.set(dataPlanes, items(dataPlane("p", 3, "eu-1", value(other, root))))
	eventually(t, "reported as connected again", said(`"connected":true`))
	stats(1)
	select {
	case err := <-closed:
		t.Errorf("the connection did not stay open: %v", err)
	default:
	}
	_ = socket.Close()
	eventually(t, "reported as gone", said(`"connected":false`))
}

func TestGatewayCountsAPeerThatMerelyLeaves(t *testing.T) {
	root := ca(t, nil, "root")
	g := startGateway(t, leaf(t, root, x509.ExtKeyUsageServerAuth))
	socket, err := net.Dial("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	_ = socket.Close()
	eventually(t, "logged", g.log.contains("http: TLS handshake error from "))
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stats.TLSErrors != 0 || g.stats.TLSOther != 1 {
		t.Errorf("%+v", g.stats)
	}
}

func TestAgentFallsBackToSystemRoots(t *testing.T) {
	root := ca(t, nil, "root")
	client := leaf(t, root, x509.ExtKeyUsageClientAuth)
	cert, key := write(t, "tls.crt", client.chainPEM()), write(t, "tls.key", client.keyPEM(t))
	otherKey := write(t, "other.key", leaf(t, root, x509.ExtKeyUsageClientAuth).keyPEM(t))
	for _, c := range []struct {
		name, cert, key, ca string
		pool                bool
		err                 string
	}{
		{"good", cert, key, write(t, "ca.crt", root.pem()), true, ""},
		{"comment before", cert, key, write(t, "ca.crt", append([]byte("# bundle\n"), root.pem()...)), true, ""},
		{"missing", cert, key, filepath.Join(t.TempDir(), "none"), false, ""},
		{"garbage", cert, key, write(t, "ca.crt", []byte("garbage")), false, ""},
		{"only comments", cert, key, write(t, "ca.crt", []byte("# filled in later\n")), false, ""},
		{"empty", cert, key, write(t, "ca.crt", nil), false, ""},
		{"not given", cert, key, "", false, ""},
		{"no client certificate", "", "", write(t, "ca.crt", root.pem()), true, ""},
		{"key of another", cert, otherKey, write(t, "ca.crt", root.pem()), false, "private key does not match"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings, err := agentTLS(slog.New(slog.DiscardHandler), c.cert, c.key, c.ca, "")
			expect(t, err, c.err)
			if err == nil && (settings.RootCAs != nil) != c.pool {
				t.Errorf("RootCAs: %v", settings.RootCAs)
			}
		})
	}
}

func TestAgentCounts(t *testing.T) {
	root, other := ca(t, nil, "root"), ca(t, nil, "other")
	g := startGateway(t, leaf(t, root, x509.ExtKeyUsageServerAuth))
	g.api.set(dataPlanes, items(dataPlane("p", 1, "", value(root))))
	for _, c := range []struct {
		name    string
		address string
		signer  *identity
		roots   *identity
		planeID string
		want    agentStats
	}{
		{"connects", g.address, root, root, "p", agentStats{Attempts: 1, Connects: 1}},
		{"refused", "127.0.0.1:1", root, root, "p", agentStats{Attempts: 1, FailedOther: 1}},
		{"server distrusted", g.address, root, other, "p", agentStats{Attempts: 1, FailedByCertificate: 1}},
		{"client distrusted", g.address, other, root, "p", agentStats{Attempts: 1, FailedByCertificate: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := leaf(t, c.signer, x509.ExtKeyUsageClientAuth)
			settings, err := agentTLS(slog.New(slog.DiscardHandler), write(t, "crt", client.chainPEM()),
				write(t, "key", client.keyPEM(t)), write(t, "ca", c.roots.pem()), "gateway.test")
			if err != nil {
				t.Fatal(err)
			}
			a := &agent{log: slog.New(slog.DiscardHandler), dialer: websocket.Dialer{TLSClientConfig: settings}}
			if socket := a.dial(fmt.Sprintf("wss://%s/ws?planeType=dataplane&planeID=%s", c.address, c.planeID)); socket != nil {
				_ = socket.Close()
			}
			got := a.stats
			got.LastError = ""
			if got != c.want {
				t.Errorf("%+v", a.stats)
			}
		})
	}
}

func TestVerifyBatch(t *testing.T) {
	root := ca(t, nil, "root")
	middle := ca(t, root, "middle")
	server := leaf(t, middle, x509.ExtKeyUsageServerAuth)
	base := func(changes object) object {
		q := object{
			"roots": write(t, "roots", root.pem()), "chain": write(t, "chain", server.chainPEM()), "usage": "server",
		}
		for k, v := range changes {
			q[k] = v
		}
		return q
	}
	cases := []struct {
		changes object
		want    string
	}{
		{object{}, ""},
		{object{"dns": "gateway.test"}, ""},
		{object{"dns": "gateway.test,other.test"}, "other.test"},
		{object{"ip": "127.0.0.1"}, "127.0.0.1"},
		{object{"usage": "client"}, "incompatible key usage"},
		{object{"time": time.Now().Add(2 * time.Hour).Format(time.RFC3339)}, "expired"},
		{object{"keyPem": string(server.keyPEM(t))}, ""},
		{object{"keyPem": string(middle.keyPEM(t))}, "does not match"},
		{object{"chainPem": string(server.pem())}, "unknown authority"},
		{object{"rootsPem": "none"}, "no certificate"},
		{object{"usage": ""}, "neither"},
		{object{"chain": "/nowhere"}, "no such file"},
	}
	var in, out bytes.Buffer
	for i, c := range cases {
		c.changes["id"] = i
		_ = json.NewEncoder(&in).Encode(base(c.changes))
	}
	if err := verifyBatch(&in, &out); err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(&out)
	for i, c := range cases {
		var a answer
		if err := answers.Decode(&a); err != nil {
			t.Fatal(err)
		}
		if a.ID != float64(i) || a.OK != (c.want == "") || !strings.Contains(a.Error, c.want) {
			t.Errorf("%v: got %+v, want %q", c.changes, a, c.want)
		}
	}
}

func TestParseTolerantly(t *testing.T) {
	flags := flag.NewFlagSet("t", flag.ContinueOnError)
	port, skip, id := flags.Int("port", 0, ""), flags.Bool("skip", true, ""), flags.String("id", "", "")
	err := parseTolerantly(flags, []string{"--log-level", "info", "--port=1", "--skip=false", "--x=y", "--leader-elect", "--id", "z"})
	if err != nil || *port != 1 || *skip || *id != "z" {
		t.Errorf("%v %d %t %q", err, *port, *skip, *id)
	}
}

func TestReloadedPair(t *testing.T) {
	root := ca(t, nil, "root")
	first, second := leaf(t, root, x509.ExtKeyUsageServerAuth), leaf(t, root, x509.ExtKeyUsageServerAuth)
	dir := t.TempDir()
	put := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair := &reloadedPair{dir: dir}
	if _, err := pair.get(nil); err == nil {
		t.Fatal("there is none yet")
	}
	serves := func(id *identity) {
		t.Helper()
		served, err := pair.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(served.Certificate[0], id.cert.Raw) {
			t.Fatal("another certificate is served")
		}
	}
	put("tls.crt", first.chainPEM())
	put("tls.key", first.keyPEM(t))
	serves(first)
	put("tls.crt", second.chainPEM())
	serves(first)
	put("tls.key", second.keyPEM(t))
	serves(second)
}
